"""Scopes of `runs list --json` on standard input, a line each with the version that was seen: for `runs retry -`."""

import json
import sys

for row in json.load(sys.stdin):
    print(row["scope"], row["seen"])
