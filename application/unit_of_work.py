"""The unit of work: everything that one transaction commits, or nothing of it.

Every field names the rule by which two units become one, so that `merge` cannot forget a field: a field without a rule
is an error at the first merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache, reduce
from operator import attrgetter
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

from msgspec import Struct

from application.ports.inbox import Discarded, Incoming, KafkaPosition, QuarantinedMessage, WaitingMessage
from application.ports.work_queue import Blocked, Lease, Reply, WorkItem
from domain.event import Recorded
from domain.tenant.guarded import Guarded, PendingApprovals


class Rule(NamedTuple):
    """What both come to: what is there so far, and what is merged into it."""

    both: Callable[[Any, Any], Any]


def _appended(mine: list[Any], theirs: list[Any]) -> list[Any]:
    mine.extend(theirs)
    return mine


def _earliest(mine: dict[str, int], theirs: dict[str, int]) -> dict[str, int]:
    for key, version in theirs.items():
        mine[key] = min(version, mine.get(key, version))
    return mine


def _counted(mine: dict[Any, int], theirs: dict[Any, int]) -> dict[Any, int]:
    return {**mine, **{key: mine.get(key, 0) + count for key, count in theirs.items()}}


APPENDED: Final = Rule(_appended)
EARLIEST: Final = Rule(_earliest)
COUNTED: Final = Rule(_counted)
LATEST: Final = Rule(lambda mine, theirs: {**mine, **theirs})
GUARDED: Final = Rule(lambda mine, theirs: theirs.and_also(mine))
ADDED: Final = Rule(lambda mine, theirs: mine + theirs)


class UnitOfWork(Struct):
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

    events: Annotated[list[Recorded], APPENDED] = []
    positions: Annotated[list[KafkaPosition], APPENDED] = []
    incoming: Annotated[list[Incoming], APPENDED] = []
    duplicates: Annotated[dict[tuple[str, str], int], COUNTED] = {}
    waiting: Annotated[list[WaitingMessage], APPENDED] = []
    waited: Annotated[list[tuple[str, str]], APPENDED] = []
    quarantined: Annotated[list[QuarantinedMessage], APPENDED] = []
    released: Annotated[list[int], APPENDED] = []
    discarded: Annotated[list[Discarded], APPENDED] = []
    customer_tenants: Annotated[list[tuple[str, str]], APPENDED] = []
    work_items: Annotated[list[WorkItem], APPENDED] = []
    leases: Annotated[list[Lease], APPENDED] = []
    kept: Annotated[list[Lease], APPENDED] = []
    renewals: Annotated[list[tuple[Lease, datetime]], APPENDED] = []
    blocked: Annotated[list[Blocked], APPENDED] = []
    unblocked: Annotated[list[str], APPENDED] = []
    replies: Annotated[list[Reply], APPENDED] = []
    grown: Annotated[list[str], APPENDED] = []
    rescheduled: Annotated[dict[str, int], EARLIEST] = {}
    unmoved: Annotated[dict[str, int], EARLIEST] = {}
    guarded: Annotated[Guarded | None, GUARDED] = None
    pending_approvals: Annotated[dict[str, PendingApprovals | None], LATEST] = {}
    live_products: Annotated[int, ADDED] = 0

    @property
    def is_empty(self) -> bool:
        return not any(_form_of(type(self)).contents(self))

    def merge(self, *others: UnitOfWork) -> None:
        """Take over everything of the other units, each field by its rule."""
        form = _form_of(type(self))
        columns = zip(*map(form.contents, others), strict=True)  # none, where there are no others
        for (name, rule), contents in zip(form.rules.items(), columns, strict=False):
            if any(contents):
                setattr(self, name, reduce(rule.both, filter(None, contents), getattr(self, name)))


def merged(units: Iterable[UnitOfWork]) -> UnitOfWork:
    """One unit of all of them, in their order; work that several of them ask for is asked for once."""
    whole = UnitOfWork()
    whole.merge(*units)
    whole.work_items = list(dict.fromkeys(whole.work_items))
    return whole


class _Form(NamedTuple):
    """The rule of each field, and what gets all of them at once."""

    rules: Mapping[str, Rule]
    contents: Callable[[UnitOfWork], tuple[Any, ...]]


@cache
def _form_of(unit: type[UnitOfWork]) -> _Form:
    hints = get_type_hints(unit, include_extras=True)
    rules = {
        name: rule
        for name in unit.__struct_fields__
        for rule in getattr(hints[name], "__metadata__", ())
        if isinstance(rule, Rule)
    }
    if without := [name for name in unit.__struct_fields__ if name not in rules]:
        raise TypeError(f"{unit.__name__}.{without[0]} has no rule for a merge: give it one in its annotation")
    return _Form(rules, attrgetter(*rules))
