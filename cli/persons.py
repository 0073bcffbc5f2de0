"""Personal data in reports: hidden, unless the operator asks for it, which is recorded as an act."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import typer

from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.operator_events import PersonalDataShown
from runtime.compose import Parts
from runtime.compose.acts import acts_of
from runtime.compose.read_models import READ_MODELS

HIDDEN: Final = "(personal)"

Persons = Annotated[
    bool, typer.Option("--persons", help="Show names, addresses and contacts: recorded as an act, with your --reason.")
]

PERSONAL: Final = {each.name: each.personal for each in READ_MODELS if each.personal}


def hidden(data: dict[str, Any]) -> dict[str, Any]:
    """The report on a tenant, without persons."""
    return {name: _hidden(each, PERSONAL[name]) if name in PERSONAL else each for name, each in data.items()}


def _hidden(value: Any, columns: frozenset[str]) -> Any:
    match value:
        case dict():
            return {
                name: HIDDEN if name in columns and each is not None else _hidden(each, columns)
                for name, each in value.items()
            }
        case list():
            return [_hidden(each, columns) for each in value]
        case _:
            return value


def hidden_differences(found: Sequence[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """Differences of two reports: that something personal differs is shown, its values are not."""
    return [(where, _covered(where, old), _covered(where, new)) for where, old, new in found]


def _covered(where: str, value: Any) -> Any:
    name, *rest = where.split(".")
    return HIDDEN if value is not None and PERSONAL.get(name, frozenset()) & set(rest) else value


def record_shown(
    parts: Parts,
    tenant_id: str,
    *,
    reason: str | None,
    by: str,
    what: Literal["persons", "evidence"] = "persons",
) -> None:
    """The act, recorded before anything is shown. Raises UsageError where no reason is given."""
    if reason is None:
        raise UsageError(problem("persons-without-reason"))
    act = PersonalDataShown(tenant_id=tenant_id, what=what, operator=by, reason=reason)
    acts_of(parts).record(act, by=Operator.parse(by))
