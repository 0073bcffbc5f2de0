"""A limits service for tests, as a process of its own, and processes that admit requests from its chunks."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tenantry_client.access import LimitsService, RateLimits
from tenantry_client.access.limits_service import SERVICE
from tenantry_client.access.rates import Limit
from tenantry_client.asap import Signer, SigningKey

LIMIT = Limit("reads", per_second=100, burst=60)
ALLOWED = """
[[allow]]
caller = "billing"
callee = "shop"
routes = ["GET /v1/orders"]
limit = {name = "reads", per_second = 100, burst = 60}

[[allow]]
caller = "shop"
callee = "limits-service"
routes = [
    "POST /v1/limits/{name}/chunks",
    "POST /v1/export-grants/{grant}/chunks",
    "POST /v1/export-grants/{grant}/chunks/{chunk}/rest",
]

[[allow]]
caller = "other"
callee = "limits-service"
routes = ["POST /v1/limits/{name}/chunks", "POST /v1/export-grants/{grant}/chunks"]
"""
_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Running:
    """The service's process, its address, and where the keys of its callers are."""

    process: subprocess.Popen[str]
    url: str
    folder: Path

    def client(self, caller: str = "shop") -> LimitsService:
        return client(self.url, self.folder, caller)


def client(url: str, folder: Path, caller: str = "shop") -> LimitsService:
    signer = Signer(caller, SigningKey.read(f"{caller}/1", folder / f"{caller}.pem"))
    return LimitsService(url, lambda: signer.fresh(SERVICE))


def write_keys(folder: Path, names: Sequence[str]) -> Path:
    """A private key of each service, and the folder of the public ones."""
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"{name}.pem").write_bytes(private)
        (folder / "keys" / name).mkdir(parents=True, exist_ok=True)
        (folder / "keys" / name / "1.pem").write_bytes(public)
    return folder / "keys"


@contextmanager
def limits_service(database: str, folder: Path) -> Iterator[Running]:
    """`tenantry limits-service`, until the block ends."""
    keys = write_keys(folder, ("shop", "other"))
    (folder / "access.toml").write_text(ALLOWED)
    environment = {
        **os.environ,
        "TENANTRY_DATABASE_URL": database,
        "TENANTRY_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TENANTRY_DATA_DIR": str(folder),
    }
    command = ("limits-service", "--keys", str(keys), "--allow-list", str(folder / "access.toml"), "--json")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("tenantry")), *command],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Running(process, json.loads(process.stdout.readline())["url"], folder)
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@dataclass
class Admissions:
    """When requests were admitted (monotonic seconds of the machine), by all processes together, in order."""

    times: list[float]
    started: float

    def between(self, start: float, end: float) -> int:
        return sum(start <= each < end for each in self.times)


@contextmanager
def admitting(running: Running, *, processes: int, seconds: float) -> Iterator[list[Connection]]:
    """Processes that ask for more than the limit; each end of a pipe gives the times at which it admitted."""
    pipes, started = [], []
    for _ in range(processes):
        ours, theirs = _SPAWN.Pipe(duplex=True)
        process = _SPAWN.Process(target=_admit, args=(theirs, running.url, running.folder, seconds), daemon=True)
        process.start()
        started.append(process)
        pipes.append(ours)
    for pipe in pipes:
        assert pipe.recv() == "ready"
    for pipe in pipes:
        pipe.send("go")
    yield pipes
    for process in started:
        process.kill()
        process.join(10)


def collected(pipes: list[Connection], started: float) -> Admissions:
    return Admissions(sorted(each for pipe in pipes for each in pipe.recv()), started)


def _admit(pipe: Connection, url: str, folder: Path, seconds: float) -> None:
    pipe.send("ready")
    pipe.recv()
    pipe.send(asyncio.run(_saturate(RateLimits(client(url, folder)), seconds)))


async def _saturate(limits: RateLimits, seconds: float) -> list[float]:
    """Ten requests at a time; one that is refused comes again after some milliseconds."""
    end, times = time.monotonic() + seconds, []

    async def one() -> None:
        while time.monotonic() < end:
            if (await limits.admit(LIMIT)).code is None:
                times.append(time.monotonic())
            else:
                await asyncio.sleep(0.005)

    await asyncio.gather(*(one() for _ in range(10)))
    return times
