"""Wait until the scopes of a family in all tenants are in a state: `until.py jira on_hold`."""

import json
import os
import subprocess
import sys
import time

family, state, number = sys.argv[1], sys.argv[2], int(os.environ["NIGHT_TENANTS"])
deadline = time.monotonic() + 150
while True:
    listed = subprocess.run(
        ["tenantry", "runs", "list", "--json", "--limit", "10000"], capture_output=True, text=True, check=True
    )
    states = [
        row["state"]
        for row in json.loads(listed.stdout)
        if row["scope"].startswith("family:") and row["scope"].endswith(f":{family}")
    ]
    if states.count(state) == number:
        print(f"{number} families are {state}")
        break
    if time.monotonic() > deadline:
        sys.exit(f"after 150 s the families are {sorted(states)}")
    time.sleep(0.5)
