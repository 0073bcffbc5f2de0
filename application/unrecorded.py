"""A log that records nothing: what is decided on it is decided on the real one, and kept here instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from application.ingest_parts import IntakeLog
from application.ports.inbox import WaitingMessage
from application.unit_of_work import UnitOfWork
from domain.event import Recorded


class Unrecorded:
    """`IntakeLog` that reads from `log`; `units` are what would have been recorded."""

    def __init__(self, log: IntakeLog) -> None:
        self._log = log
        self.units: list[UnitOfWork] = []

    def record(self, recording: UnitOfWork) -> None:
        self.units.append(recording)

    def load(self, streams: Mapping[str, int], *, personal: bool = True) -> dict[str, list[Recorded]]:
        return self._log.load(streams, personal=personal)

    def known(self, ids: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        return self._log.known(ids)

    def waiting(self, tenant_ids: Iterable[str]) -> dict[str, list[WaitingMessage]]:
        return self._log.waiting(tenant_ids)

    def faulty(self, tenant_ids: Iterable[str]) -> dict[str, list[int]]:
        return self._log.faulty(tenant_ids)

    def faults_since(self, moment: datetime) -> int:
        return self._log.faults_since(moment)
