"""Wait until every scope of Compass is in a state: `until.py converged`."""

import json
import os
import subprocess
import sys
import time

state, number = sys.argv[1], int(os.environ["NIGHT_TENANTS"])
deadline = time.monotonic() + 150
while True:
    listed = subprocess.run(
        ["tenantry", "runs", "list", "--json", "--limit", "10000"], capture_output=True, text=True, check=True
    )
    states = [row["state"] for row in json.loads(listed.stdout) if row["kind"] == "product"]
    if states.count(state) == number:
        print(f"{number} scopes are {state}")
        break
    if time.monotonic() > deadline:
        sys.exit(f"after 150 s the scopes are {sorted(states)}")
    time.sleep(0.5)
