"""Log in as the product's own role, with its password, past every sidecar, until that is refused: login.py TENANT."""

import json
import subprocess
import sys
import time

import psycopg

answer = json.loads(subprocess.check_output(["tenantry", "credentials", sys.argv[1], "confluence", "--json"]))
keys = {"host": "host", "port": "port", "dbname": "database", "user": "role", "password": "password"}
for _ in range(100):
    try:
        psycopg.connect(**{name: answer[key] for name, key in keys.items()}).close()
    except psycopg.OperationalError as error:
        print("refused:", str(error).partition("FATAL:")[2].strip())
        break
    time.sleep(0.2)
else:
    print("the role may log in")
