"""Where does Apache Kafka itself come from?

From Maven Central, by `mvn`, into pytest's cache: one node in KRaft mode, on Java 17 or later.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self
from uuid import uuid4

VERSION = "3.9.1"
_POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tenantry</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={directory}/topics
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=20971520
replica.fetch.max.bytes=20971520
"""


class NotToBeHad(Exception):
    """Why it cannot be had here."""


def jars(cache: Path) -> str:
    """The class path; NotToBeHad says what is missing."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise NotToBeHad(f"{program} is not on the PATH")
    libraries = cache / f"kafka-{VERSION}"
    if not libraries.exists():
        (cache / "pom.xml").write_text(_POM)
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={libraries}.part"],
            cwd=cache,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if fetched.returncode:
            raise NotToBeHad(f"Maven Central cannot be reached: {fetched.stdout.strip().splitlines()[:1]}")
        Path(f"{libraries}.part").rename(libraries)
    return f"{libraries}/*"


class ApacheKafka:
    """One broker in a process of its own, with its data in `directory`."""

    def __init__(self, directory: Path, class_path: str) -> None:
        self._directory = directory
        self._java = ["java", "-Xmx512m", "-cp", class_path]
        self._port, controller = _free_ports()
        self._properties = directory / "server.properties"
        self._properties.write_text(_PROPERTIES.format(port=self._port, controller=controller, directory=directory))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        with (self._directory / "kafka.log").open("wb") as log:
            cluster = ["format", "-t", uuid4().hex[:22], "-c", str(self._properties)]
            subprocess.run(
                [*self._java, "kafka.tools.StorageTool", *cluster], stdout=log, stderr=log, check=True, timeout=60
            )
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._properties)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return self
        self.__exit__()
        raise NotToBeHad(f"it does not start: {(self._directory / 'kafka.log').read_text()[-500:]}")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
