"""The sidecar as a process of a test: the real one, and with a mutant planted where one is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from context.sidecar.run import run_sidecar
from context.sidecar.services import Service
from runtime.telemetry import configure_logging

if __name__ == "__main__":
    about = json.loads(sys.argv[1])
    configure_logging(level="info")
    if about["mutant"]:
        from tests.context.mutants import plant

        plant(about["mutant"])
    run_sidecar(
        Path(about["directory"]),
        [Service(each) for each in about["services"]],
        term=about["term"],
        digest_seconds=about["digest"],
    )
