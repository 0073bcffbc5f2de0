"""Ask until the answer has that status: until.py URL HOST STATUS."""

import sys
import time

import urllib3

url, host, status = sys.argv[1:]
end = time.monotonic() + 60
while True:
    try:
        answer = urllib3.request("GET", url, headers={"Host": host}, timeout=30, retries=False)
        if answer.status == int(status) or time.monotonic() > end:
            print(answer.data.decode())
            break
    except urllib3.exceptions.HTTPError as error:
        if time.monotonic() > end:
            sys.exit(str(error))
    time.sleep(0.2)
