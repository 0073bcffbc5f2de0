"""Licenses of Compass, as its team runs them: `compass.py up` starts the server beside us, `down` kills it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SERVER = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "provisioner.py"
PORT = Path("port").read_text()


def answers() -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", int(PORT))) == 0


if sys.argv[1] == "up":
    environment = {**os.environ, "SECRET": os.environ["TENANTRY_WEBHOOK_SECRETS__COMPASS"]}
    with Path("compass.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, SERVER, PORT], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    Path("compass.pid").write_text(str(server.pid))
    while not answers():
        time.sleep(0.05)
    print("compass answers")
else:
    os.kill(int(Path("compass.pid").read_text()), signal.SIGKILL)
    while answers():
        time.sleep(0.05)
    print("compass is dead")
