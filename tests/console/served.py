"""The console as a process of its own, as `tenantry console` starts it, to be killed and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "the-token-of-the-browsers"


class Served:
    """Listens on one port for all its lives."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._settings = settings
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """With the token."""
        return f"{self.url}/?token={TOKEN}"

    def start(self) -> None:
        program = "from cli.main import main; main()"
        command = [sys.executable, "-c", program, "console", "--port", str(self.port), "--json"]
        self._process = subprocess.Popen(
            command, cwd=self._folder, env=self._environment(), stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, "the console ended at once"
        assert json.loads(said)["ready"] is True

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        self._ended()

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _environment(self) -> Mapping[str, str]:
        paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
        given = {f"TENANTRY_{name.upper()}": value for name, value in self._settings.items()}
        return {**os.environ, "PYTHONPATH": paths, "LOGNAME": "ada", "TENANTRY_CONSOLE_TOKEN": TOKEN, **given}
