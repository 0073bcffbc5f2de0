"""Both context services, the stand-in of the tests and the real one, pass one suite (context_service.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Desk, desk
from tests.context.processes import StandInProcess
from tests.context.real_service import RealWorld, real_world
from tests.contracts.context_service import ContextServiceContract

__all__ = ["desk"]


class StandInWorld:
    """The stand-in, with one tenant."""

    tenant, host, product = "t-1", "t-1.example", "crm"

    def __init__(self, process: StandInProcess) -> None:
        self._process = process
        self.url = process.urls[0]
        process.do("create", tenant=self.tenant, host=self.host)
        process.do("create", tenant="t-0", host="t-0.example")

    def suspend(self) -> int:
        return self._process.do("suspend", tenant=self.tenant)

    def reopen(self) -> int:
        return self._process.do("unsuspend", tenant=self.tenant)


class TestStandIn(ContextServiceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[StandInWorld]:
        process = StandInProcess(tmp_path).start()
        yield StandInWorld(process)
        process.end()


class TestRealService(ContextServiceContract):
    @pytest.fixture
    def world(self, desk: Desk) -> Iterator[RealWorld]:
        with real_world(desk) as found:
            yield found
