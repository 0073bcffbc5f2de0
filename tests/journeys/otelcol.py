"""A real OpenTelemetry Collector between the workers and a receiver of the tests.

`otelcol` on the path, with the components of its core: the OTLP receiver and the exporter of OTLP over HTTP. What comes
out of it has been through its decoder and its encoder. One is built by the collector's own builder, in some minutes:

    go install go.opentelemetry.io/collector/cmd/builder@v0.161.0
    mkdir -p build && builder --config tests/journeys/otelcol.yaml    # makes build/otelcol/otelcol
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.access.proxies import free_port
from tests.journeys.running import wait_for


@contextmanager
def collecting(onward: str, folder: Path) -> Iterator[str]:
    """The endpoint of a collector that sends all spans on to `onward`; skipped where there is none."""
    program = shutil.which("otelcol")
    if program is None:
        pytest.skip("otelcol is not installed (tests/journeys/otelcol.py says how to build it)")
    place = f"127.0.0.1:{free_port()}"
    settings = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": place}}}},
        "exporters": {"otlphttp": {"traces_endpoint": onward}},
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["otlphttp"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    file = folder / "otelcol.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with (folder / "otelcol.log").open("wb") as log:
        process = subprocess.Popen([program, f"--config=file:{file}"], stdout=log, stderr=log)
    try:
        endpoint = f"http://{place}/v1/traces"
        wait_for(lambda: _takes(endpoint, process, folder / "otelcol.log"), "the collector to listen")
        yield endpoint
    finally:
        process.terminate()
        process.wait(20)


def _takes(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    nothing = urllib.request.Request(endpoint, b"{}", {"Content-Type": "application/json"})  # noqa: S310 - this machine
    try:
        with urllib.request.urlopen(nothing, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except OSError:
        return False
