"""Shard eu-1 on a server of its own: `shard.py up` starts it beside us, `down` kills it as a power cut does."""

import os
import signal
import sys
import time
from pathlib import Path

from adapters.embedded.postgres import EmbeddedPostgres

HERE = Path("eu-1")
SETTINGS = """default_region = "eu"

[[shards]]
name = "eu-1"
region = "eu"
capacity = 1000
url = "{url}"
"""

server = EmbeddedPostgres(HERE)
if sys.argv[1] == "up":
    server.start()
    server.create_database("tenants")
    Path("tenantry.toml").write_text(SETTINGS.format(url=server.url("tenants")))
    print("shard eu-1 answers")
else:
    os.kill(int((HERE / "cluster" / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
    while server.is_alive:
        time.sleep(0.05)
    print("shard eu-1 is dead")
