"""Operators' commands: decisions about one tenant, acts on the whole, the quarantine, the comparison with commerce."""

from __future__ import annotations

from adapters.postgres.quarantine import Quarantine
from application.commerce_comparison import CommerceComparison
from application.operator_acts import Acts
from application.operator_commands import OperatorCommands
from application.quarantine_commands import QuarantineCommands
from application.service_keys import ServiceKeys
from runtime import faults
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.compose.parts import Parts
from runtime.compose.process import new_id, once, once_per_configuration, utc_now


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


@once
def acts_of(parts: Parts) -> Acts:
    return Acts(log=parts.log, clock=utc_now, new_id=new_id)


@once
def service_keys_of(parts: Parts) -> ServiceKeys:
    return ServiceKeys(log=parts.log, clock=utc_now, new_id=new_id)


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


@once
def comparing_of(parts: Parts) -> CommerceComparison:
    return CommerceComparison(log=parts.log, snapshots=parts.saga.snapshots)
