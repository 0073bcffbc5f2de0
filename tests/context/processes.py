"""The processes of a context test: the stand-in on its ports, sidecars on their directories, and how to end them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import urllib3

from tenantry_client.context.lease import lease_path

ROOT = Path(__file__).parent.parent.parent


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_until(condition: Callable[[], object], *, seconds: float = 60.0, what: str = "the condition") -> None:
    """Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.005)
    raise TimeoutError(f"{what} did not come within {seconds:g} s")


class Process:
    """A process of ours, by its command."""

    def __init__(self, command: list[str], output: Path) -> None:
        self.command = command
        self.output = output
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def send(self, number: int) -> None:
        """A signal. After SIGSTOP the process does stand still: its threads may go on for a moment."""
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            if number != signal.SIGKILL:
                self._process.send_signal(signal.SIGCONT)
            self._process.wait(20)

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")


class StandInProcess(Process):
    """The stand-in in a process of its own, on `count` ports."""

    def __init__(self, folder: Path, *, count: int = 2) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ports = free_ports(count)
        super().__init__(
            [sys.executable, "-m", "tests.context.stand_in", *map(str, self.ports)], folder / "stand-in.txt"
        )
        self._pool = urllib3.PoolManager(retries=False)

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def start(self) -> Self:
        super().start()
        for port in range(len(self.ports)):
            wait_until(lambda: self._listens(port), what="the stand-in")  # noqa: B023 - called at once
        return self

    def _listens(self, port: int) -> bool:
        try:
            return self._pool.request("GET", f"{self.urls[port]}/livez").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def do(self, do: str, **about: object) -> int:
        """One event; its position when it is committed."""
        return int(self._post("/control", {"do": do, **about})["position"])

    def fault(self, name: str, value: object = True, *, port: int | None = None) -> None:
        for each in range(len(self.ports)) if port is None else [port]:
            self._post("/fault", {"name": name, "value": value}, port=each)

    def _post(self, path: str, body: dict[str, object], *, port: int = 0) -> Any:
        return self._pool.request("POST", self.urls[port] + path, json=body, timeout=60.0).json()


class SidecarProcess(Process):
    """A sidecar on a directory of its own; `module` may be another entry, for planted mutants."""

    def __init__(
        self,
        folder: Path,
        services: list[str],
        *,
        term: float = 3.0,
        digest: float = 60.0,
        module: str = "tests.context.sidecar_entry",
        mutant: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.directory = folder / "tenancy"
        about = {
            "directory": str(self.directory),
            "services": services,
            "term": term,
            "digest": digest,
            "mutant": mutant,
        }
        super().__init__([sys.executable, "-m", module, json.dumps(about)], folder / "sidecar.txt")

    def remove(self) -> None:
        self.end()
        lease_path(self.directory).unlink(missing_ok=True)
