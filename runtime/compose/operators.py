"""Operators' commands: decisions about one tenant, acts on the whole, the quarantine, the comparison with commerce."""

from __future__ import annotations

from functools import partial

from adapters.encryption import NoKeys
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.export_budgets import PostgresExportBudgets
from adapters.postgres.quarantine import Quarantine
from adapters.postgres.rates import PostgresRates
from adapters.resources.executors import places, system_of
from application.commerce_comparison import CommerceComparison
from application.export_grants import ExportGrants
from application.operator_commands import OperatorCommands
from application.quarantine_commands import QuarantineCommands
from application.quarantine_rehearsal import QuarantineRehearsal
from application.rehearsal import Rehearsals
from application.service_keys import ServiceKeys
from runtime import faults
from runtime.compose.acts import acts_of
from runtime.compose.intake import lifecycle_of, lifecycle_on, messages_of
from runtime.compose.parts import Parts
from runtime.compose.process import new_id, once, once_per_configuration, utc_now
from runtime.compose.resources import outside_of


@once_per_configuration
def operating_of(parts: Parts) -> OperatorCommands:
    return OperatorCommands(
        log=parts.log,
        snapshots=parts.saga.snapshots,
        catalog=parts.catalog,
        policy=parts.policy,
        clock=utc_now,
        new_id=new_id,
    )


@once_per_configuration
def rehearsing_of(parts: Parts) -> Rehearsals:
    there = outside_of(parts)
    system = partial(system_of, catalog=parts.catalog, lies_on=places(there))
    return Rehearsals(commands=operating_of(parts), saga=parts.saga, system_of=system, clock=utc_now)


@once
def service_keys_of(parts: Parts) -> ServiceKeys:
    return ServiceKeys(log=parts.log, clock=utc_now, new_id=new_id)


@once
def export_grants_of(parts: Parts) -> ExportGrants:
    budgets = parts.closing(PostgresExportBudgets(parts.endpoints.database_url))
    return ExportGrants(log=parts.log, budgets=budgets, clock=utc_now, new_id=new_id)


def keyless_export_grants_of(parts: Parts) -> ExportGrants:
    """The same for a service: it reads grants, which hold no personal fields, without the master key."""
    log = parts.closing(PostgresEventLog(parts.endpoints.database_url, NoKeys()))
    budgets = parts.closing(PostgresExportBudgets(parts.endpoints.database_url))
    return ExportGrants(log=log, budgets=budgets, clock=utc_now, new_id=new_id)


@once
def rates_of(parts: Parts) -> PostgresRates:
    return parts.closing(PostgresRates(parts.endpoints.database_url))


@once
def quarantine_of(parts: Parts) -> Quarantine:
    return Quarantine(parts.endpoints.database_url, parts.keys)


@once
def quarantine_commands_of(parts: Parts) -> QuarantineCommands:
    return QuarantineCommands(
        quarantine=quarantine_of(parts),
        acts=acts_of(parts),
        lifecycle=lifecycle_of(parts),
        restored=messages_of(parts).restored,
        tell=faults.tell,
    )


def quarantine_rehearsal_of(parts: Parts) -> QuarantineRehearsal:
    return QuarantineRehearsal(
        quarantine=quarantine_of(parts),
        log=parts.log,
        lifecycle_on=lambda log: lifecycle_on(parts, log),
        restored=messages_of(parts).restored,
        tell=faults.tell,
    )


@once
def comparing_of(parts: Parts) -> CommerceComparison:
    return CommerceComparison(log=parts.log, snapshots=parts.saga.snapshots)
