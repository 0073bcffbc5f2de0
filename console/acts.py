"""Acts from the console's forms: the same services as the commands', with the person who is known by the session.

Each form leads to the page of the acts that it caused, where they stay open until their scopes have converged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlencode

from console.access import Person, Refusal, Role
from console.page import command
from domain.errors import TenantryError, Unavailable, UsageError, problem
from domain.operator import Operator
from domain.scope.steps import Scope

if TYPE_CHECKING:
    from runtime.compose.parts import Parts

MOST: Final = 500
"""Scopes, or messages, that one form acts on."""

T = TypeVar("T")
Form = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Done:
    """The page that shows what becomes of it, what was recorded, and the command that does the same."""

    address: str
    command: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ActForm:
    """One kind of act: who may do it, and how it is done."""

    role: Role
    carry_out: Callable[[Parts, Form, Person], Done]


def named(kind: str) -> ActForm:
    """The act of that name. Raises Refusal."""
    if kind not in ACTS:
        raise Refusal(404, "console-page-unknown", path=f"/act/{kind[:100]}")
    return ACTS[kind]


def _on_scopes(kind: str) -> ActForm:
    def carry_out(parts: Parts, form: Form, person: Person) -> Done:
        from application.operator_commands import Act  # noqa: PLC0415 - the live page needs no act
        from application.operator_event import duration  # noqa: PLC0415
        from runtime.compose.operators import operating_of  # noqa: PLC0415
        from runtime.compose.process import utc_now  # noqa: PLC0415

        reason = _reason(form)
        period = form.get("for", [""])[0].strip()
        until = utc_now() + duration(period) if kind == "hold" and period else None
        named_scopes = form.get("scope", ())
        given = [Act(cast("Any", kind), _scope(text), reason, _seen(text), until) for text in named_scopes]
        _check_number(len(given))
        operating, by = operating_of(parts), _by(person)
        refused, address = _each(parts, given, lambda act: operating.carry_out(act, by=by), name=lambda act: act.scope)
        spelled = command(
            "runs", kind, str(given[0].scope) if len(given) == 1 else "-", for_=period or None, reason=reason
        )
        done = len(given) - len(refused)
        return Done(address, spelled, {"act": kind, "done": done, "refused": refused})

    return ActForm("operator", carry_out)


def _on_plan(verdict: str) -> ActForm:
    def carry_out(parts: Parts, form: Form, person: Person) -> Done:
        from runtime.compose.operators import operating_of  # noqa: PLC0415

        plan, reason = _one(form, "plan"), _reason(form)
        before = parts.log.advance_mark()
        operating = operating_of(parts)
        act = operating.approve if verdict == "approve" else operating.reject
        settled = act(plan, reason=reason, by=_by(person))
        if not settled.changes:
            raise UsageError(problem("plan-changed", plan=plan, pending="none"))
        data = {"act": verdict, "plan": plan, "changes": len(settled.changes)}
        return Done(_acts(before, parts.log.advance_mark()), command("runs", verdict, plan, reason=reason), data)

    return ActForm("approver", carry_out)


def _restore(parts: Parts, form: Form, person: Person) -> Done:
    from runtime.compose.operators import operating_of  # noqa: PLC0415

    tenant, reason = _one(form, "tenant"), _reason(form)
    before = parts.log.advance_mark()
    operating_of(parts).restore(tenant, reason=reason, by=_by(person))
    address = _acts(before, parts.log.advance_mark())
    return Done(address, command("restore", tenant, reason=reason), {"act": "restore", "tenant_id": tenant})


def _retry_messages(parts: Parts, form: Form, person: Person) -> Done:
    from runtime.compose.operators import quarantine_commands_of  # noqa: PLC0415

    numbers, by, commands = _numbers(parts, form), _by(person), quarantine_commands_of(parts)
    outcomes: dict[int, str] = {}

    def act(number: int) -> None:
        outcomes[number] = commands.retry(number, by=by).outcome

    refused, address = _each(parts, numbers, act, name=lambda number: number)
    spelled = command("quarantine", "retry", *map(str, numbers))
    return Done(address, spelled, {"act": "retry", "outcomes": outcomes, "refused": refused})


def _discard_messages(parts: Parts, form: Form, person: Person) -> Done:
    from runtime.compose.operators import quarantine_commands_of  # noqa: PLC0415

    reason, numbers = _reason(form), _numbers(parts, {**form, "all": ()})
    by, commands = _by(person), quarantine_commands_of(parts)

    def act(number: int) -> None:
        commands.discard(number, reason=reason, by=by)

    refused, address = _each(parts, numbers, act, name=lambda number: number)
    spelled = command("quarantine", "discard", *map(str, numbers), reason=reason)
    return Done(address, spelled, {"act": "discard", "done": len(numbers) - len(refused), "refused": refused})


def _numbers(parts: Parts, form: Form) -> list[int]:
    """The chosen messages; or all that match, at most MOST of them."""
    from application.ports.quarantine import Picked  # noqa: PLC0415
    from runtime.compose.operators import quarantine_of  # noqa: PLC0415

    if form.get("all"):
        rule, source, type_, tenant = (form.get(name, [""])[0] or None for name in ("rule", "source", "type", "tenant"))
        picked = Picked(rule, source, type_, tenant)
        if picked.says_nothing:
            raise UsageError(problem("console-nothing-named"))
        return [entry.number for entry in quarantine_of(parts).entries(limit=MOST, picked=picked)]
    given = [text for text in form.get("number", ()) if text.isascii() and text.isdigit() and len(text) <= 18]
    _check_number(len(given))
    return list(dict.fromkeys(map(int, given)))


ACTS: Final[Mapping[str, ActForm]] = {
    **{kind: _on_scopes(kind) for kind in ("retry", "hold", "release", "ensure")},
    **{verdict: _on_plan(verdict) for verdict in ("approve", "reject")},
    "restore": ActForm("operator", _restore),
    "retry-messages": ActForm("operator", _retry_messages),
    "discard-messages": ActForm("operator", _discard_messages),
}


def _each(
    parts: Parts, things: Sequence[T], act: Callable[[T], object], *, name: Callable[[T], object]
) -> tuple[list[dict[str, str]], str]:
    """What was refused, and the page of the acts. One act that is refused alone is an error; Unavailable ends all."""
    from application.problem_texts import sentence  # noqa: PLC0415

    before = parts.log.advance_mark()
    refused: list[dict[str, str]] = []
    for thing in things:
        try:
            act(thing)
        except Unavailable:
            raise
        except TenantryError as error:
            if len(things) == 1:
                raise
            refused.append({"on": str(name(thing)), "refused": sentence(error)})
    return refused, _acts(before, parts.log.advance_mark(), refused=len(refused))


def _acts(after: int, upto: int, *, refused: int = 0) -> str:
    values = {"after": after, "upto": upto, **({"refused": refused} if refused else {})}
    return f"/acts?{urlencode(values)}"


def _by(person: Person) -> Operator:
    return Operator(person.subject, person.issuer, channel="console")


def _reason(form: Form) -> str:
    from application.operator_event import checked_reason  # noqa: PLC0415

    return checked_reason(form.get("reason", [""])[0])


def _one(form: Form, name: str) -> str:
    text = form.get(name, [""])[0].strip()
    if not text:
        raise UsageError(problem("console-nothing-named"))
    return text


def _scope(text: str) -> Scope:
    """A scope, and after a blank perhaps the version that was seen of it."""
    try:
        return Scope.parse(text.partition(" ")[0])
    except ValueError as error:
        raise UsageError(problem("console-value-unknown", value=text[:200], name="scope", known=str(error))) from None


def _seen(text: str) -> str | None:
    return text.partition(" ")[2] or None


def _check_number(count: int) -> None:
    if not count:
        raise UsageError(problem("console-nothing-named"))
    if count > MOST:
        raise UsageError(problem("console-too-many", count=count, most=MOST))
