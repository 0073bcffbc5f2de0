"""The unit of work: everything that one transaction commits, or nothing of it.

Every field names the rule by which two units become one, so that `merge` cannot forget a field: a field without a rule
is an error at the first merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from application.ports.inbox import Discarded, Incoming, KafkaPosition, QuarantinedMessage, WaitingMessage
from application.ports.work_queue import Blocked, Lease, Reply, WorkItem
from domain.event import Recorded
from domain.tenant.guarded import Guarded, PendingApprovals

Rule = Callable[[Any, Any], Any]
"""What both come to: what is there so far, and what is merged into it."""


def _by(rule: Rule) -> Mapping[str, Rule]:
    return {"merge": rule}


def _appended(mine: list[Any], theirs: list[Any]) -> list[Any]:
    mine.extend(theirs)
    return mine


def _earliest(mine: dict[str, int], theirs: dict[str, int]) -> dict[str, int]:
    return {**mine, **{key: min(version, mine.get(key, version)) for key, version in theirs.items()}}


def _counted(mine: dict[Any, int], theirs: dict[Any, int]) -> dict[Any, int]:
    return {**mine, **{key: mine.get(key, 0) + count for key, count in theirs.items()}}


APPENDED: Final = _by(_appended)
EARLIEST: Final = _by(_earliest)
COUNTED: Final = _by(_counted)
LATEST: Final = _by(lambda mine, theirs: {**mine, **theirs})
GUARDED: Final = _by(lambda mine, theirs: theirs.and_also(mine))
ADDED: Final = _by(lambda mine, theirs: mine + theirs)


@dataclass(slots=True)
class UnitOfWork:
    """One transaction.

    `duplicates` counts repeats by (source, id); `waited` names whom the waiting room lets go; `released` numbers
    quarantined messages that went through the front door again, `discarded` those that are closed unapplied; `leases`
    end, and their wake rows go; those that are `kept` must still be ours; `unblocked` names obstacles whose waiting
    scopes become due. `grown` names tenants that have a product more, `woken` those whose scopes are woken, with the
    version of the tenant that they are known from: where it has moved on, the whole tenant is due. `unmoved` names
    streams with the version that was decided on: an event that was recorded there since makes it conflict. `guarded` is
    counted by the destroy guard; `pending_approvals` says what of a tenant awaits approval from now on (None: nothing);
    `live_products` by how many the products grow that are active on a tenant that is not destroyed.
    """

    events: list[Recorded] = field(default_factory=list, metadata=APPENDED)
    positions: list[KafkaPosition] = field(default_factory=list, metadata=APPENDED)
    incoming: list[Incoming] = field(default_factory=list, metadata=APPENDED)
    duplicates: dict[tuple[str, str], int] = field(default_factory=dict, metadata=COUNTED)
    waiting: list[WaitingMessage] = field(default_factory=list, metadata=APPENDED)
    waited: list[tuple[str, str]] = field(default_factory=list, metadata=APPENDED)
    quarantined: list[QuarantinedMessage] = field(default_factory=list, metadata=APPENDED)
    released: list[int] = field(default_factory=list, metadata=APPENDED)
    discarded: list[Discarded] = field(default_factory=list, metadata=APPENDED)
    customer_tenants: list[tuple[str, str]] = field(default_factory=list, metadata=APPENDED)
    work_items: list[WorkItem] = field(default_factory=list, metadata=APPENDED)
    leases: list[Lease] = field(default_factory=list, metadata=APPENDED)
    kept: list[Lease] = field(default_factory=list, metadata=APPENDED)
    renewals: list[tuple[Lease, datetime]] = field(default_factory=list, metadata=APPENDED)
    blocked: list[Blocked] = field(default_factory=list, metadata=APPENDED)
    unblocked: list[str] = field(default_factory=list, metadata=APPENDED)
    replies: list[Reply] = field(default_factory=list, metadata=APPENDED)
    grown: list[str] = field(default_factory=list, metadata=APPENDED)
    rescheduled: dict[str, int] = field(default_factory=dict, metadata=EARLIEST)
    unmoved: dict[str, int] = field(default_factory=dict, metadata=EARLIEST)
    guarded: Guarded | None = field(default=None, metadata=GUARDED)
    pending_approvals: dict[str, PendingApprovals | None] = field(default_factory=dict, metadata=LATEST)
    live_products: int = field(default=0, metadata=ADDED)

    @property
    def is_empty(self) -> bool:
        return not any(getattr(self, name) for name in _rules(type(self)))

    def merge(self, other: UnitOfWork) -> None:
        """Take over everything of the other unit, each field by its rule."""
        rules = _rules(type(self))
        for (name, rule), theirs in zip(rules.items(), attrgetter(*rules)(other), strict=True):
            if theirs:
                setattr(self, name, rule(getattr(self, name), theirs))


def merged(units: Iterable[UnitOfWork]) -> UnitOfWork:
    """One unit of all of them, in their order; work that several of them ask for is asked for once."""
    whole = UnitOfWork()
    for unit in units:
        whole.merge(unit)
    whole.work_items = list(dict.fromkeys(whole.work_items))
    return whole


_RULES: Final[dict[type[UnitOfWork], Mapping[str, Rule]]] = {}


def _rules(unit: type[UnitOfWork]) -> Mapping[str, Rule]:
    """The rule of each field, looked up once."""
    if (known := _RULES.get(unit)) is not None:
        return known
    without = [each.name for each in fields(unit) if "merge" not in each.metadata]
    if without:
        raise TypeError(f"{unit.__name__}.{without[0]} has no rule for a merge: give it one in its metadata")
    return _RULES.setdefault(unit, {each.name: each.metadata["merge"] for each in fields(unit)})
