"""Resources against the log: drift and its sweep, orphans and their removal, databases that are made anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from adapters.postgres.connection import connect
from adapters.postgres.orphan_plans import OrphanPlans
from adapters.postgres.sessions import Sessions
from adapters.postgres.sweeps import PostgresLedger
from adapters.resources.database import Databases
from adapters.resources.executors import Outside, resources
from application.database_recreation import DatabaseRecreation
from application.drift_detection import DriftDetector
from application.drift_sweep import DriftSweep
from application.orphan_removal import OrphanRemoval
from runtime.compose.parts import Parts
from runtime.compose.process import new_id, once, once_per_configuration, utc_now


def outside_of(parts: Parts) -> Outside:
    """Where the resources of the configuration in use are."""
    return Outside(_control(parts), parts.topology, parts.catalog, parts.settings.site_domain, parts.master_key)


@once
def _control(parts: Parts) -> Sessions:
    url, keep = parts.endpoints.database_url, parts.settings.provisioner_executor_limit
    return parts.closing(Sessions(lambda: connect(url, autocommit=True), keep=keep))


@once_per_configuration
def reconciling_of(parts: Parts) -> DriftDetector:
    return DriftDetector(
        log=parts.log,
        snapshots=parts.saga.snapshots,
        resources=resources(outside_of(parts)),
        catalog=parts.catalog,
        policy=parts.policy,
        clock=utc_now,
        new_id=new_id,
    )


@once_per_configuration
def recreating_of(parts: Parts) -> DatabaseRecreation:
    return DatabaseRecreation(
        log=parts.log,
        snapshots=parts.saga.snapshots,
        is_there=Databases(parts.topology, master_key=parts.master_key).is_there,
        catalog=parts.catalog,
        clock=utc_now,
        new_id=new_id,
    )


@once_per_configuration
def clearing_of(parts: Parts) -> OrphanRemoval:
    return OrphanRemoval(
        log=parts.log,
        resources=resources(outside_of(parts)),
        plans=OrphanPlans(parts.endpoints.database_url),
        drift=parts.policy.drift,
        clock=utc_now,
        new_id=new_id,
    )


@once
def sweep_ledger_of(parts: Parts) -> PostgresLedger:
    return parts.closing(PostgresLedger(parts.endpoints.database_url))


@contextmanager
def sweeping_of(parts: Parts) -> Iterator[DriftSweep]:
    """The background sweep, with parts of its own: it runs in a thread of its own."""
    settings = parts.settings
    with Parts(settings, parts.endpoints) as own:

        def reconciling() -> DriftDetector:
            own.learn()
            return reconciling_of(own)

        yield DriftSweep(
            reconciling=reconciling,
            ledger=sweep_ledger_of(own),
            drift=own.policy.drift,
            clock=utc_now,
            interval=timedelta(seconds=settings.sweep_interval_seconds),
            pause=timedelta(milliseconds=settings.sweep_pause_milliseconds),
        )
