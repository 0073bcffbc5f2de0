"""How does somebody else's provisioner bring a step about?

We ask, by one signed POST for each look; the same key always asks for the same effect, so asking again is how we wait
and how we go on after a crash. Nothing about a request is kept but the intent in the log.

    POST ──▶ 200, 204  done: facts
         ──▶ 202       at work: look at its Location, if it names one ──▶ 200 done, 202 look again after Retry-After
         ──▶ 409, 412  Fenced: it has seen a higher generation
         ──▶ 408, 425, 429, 5xx, no answer, an answer that does not fit    Retryable, after Retry-After
         ──▶ 3xx, other 4xx                                                Permanent

What readers of the read models are told is ours: the facts that our own pure executors draw up from the wish. They go
along with the request; the answer may add to them what only the provisioner knows (`MAY_SAY`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Annotated, Final
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from adapters.signed_requests import Answer, Method, SignedRequests, SigningSecret
from domain.errors import Fenced, Obstacle, Permanent, Retryable
from domain.event import Value
from domain.ports import Order
from domain.steps import ConfigurationFacts, Facts, LicenseFacts, Step

Draft = Callable[[Order], Facts]
"""What is told of the step once it is done, as far as we know it ourselves. Pure."""

_SHORTEST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(hours=1)
_LONGEST_REASON: Final = 200
_LONGEST_LOOKED_THROUGH: Final = 2000


# -- what an answer may say ----------------------------------------------------------------------------------------


Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=1024)]
"""One line; no NUL, which PostgreSQL would not store."""


class Nothing(Value):
    """The wish says it all."""


class Settings(Value):
    """To be stored beside our settings, which stay. They lie in the log in the clear: nothing about persons."""

    settings: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]*$", max_length=64)], Text] = Field(
        default_factory=dict, max_length=64
    )


class Location(Value):
    """Where the product finds its entitlement."""

    location: Annotated[Text, StringConstraints(min_length=1)] | None = None


MAY_SAY: Final[Mapping[Step, type[Nothing | Settings | Location]]] = {
    Step.SITE: Nothing,
    Step.CONFIGURATION: Settings,
    Step.IDENTITY: Nothing,
    Step.LICENSE: Location,
}


# -- the executor --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Webhook:
    """Brings one step of one product about by asking whoever answers at `address`."""

    requests: SignedRequests
    product: str
    family: str
    address: str
    secret: SigningSecret = field(repr=False)
    draft: Draft
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def ensure(self, order: Order) -> Facts:
        draft = self.draft(order)
        answer = self._ask(order, draft)
        if answer.status == 204:
            return draft
        if not _is_json(answer):
            raise Retryable(self._about(order, "did not answer with application/json"))
        try:
            said = MAY_SAY[order.step].model_validate_json(answer.body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise Retryable(self._about(order, f"answered what does not fit: {place}: {first['msg']}")) from None
        return _completed(draft, said)

    def remove(self, order: Order) -> None:
        self._ask(order, None)

    def _ask(self, order: Order, draft: Facts | None) -> Answer:
        """The answer that says done."""
        answer = self._send(order, "POST", self.address, body_of(order, family=self.family, facts=draft))
        if answer.status == 202 and "location" in answer.headers:
            answer = self._send(order, "GET", self._status_address(order, answer.headers["location"]), b"")
            if answer.status in (404, 410):
                raise Retryable(self._about(order, "does not know its own status address"))
        if answer.status in (200, 204):
            return answer
        raise self._error(order, answer)

    def _send(self, order: Order, method: Method, address: str, body: bytes) -> Answer:
        try:
            return self.requests.send(method, address, key=order.idempotency_key, secret=self.secret, body=body)
        except Retryable as error:
            raise Retryable(self._about(order, str(error))) from error

    def _status_address(self, order: Order, location: str) -> str:
        """Where it says that it can be asked: only ever itself, or we could be sent anywhere."""
        try:
            address = urljoin(self.address, location)
            if _origin(address) == _origin(self.address):
                return address
        except ValueError:
            pass
        raise Permanent(self._about(order, "names a status address that is not its own: answer with a path"))

    def _error(self, order: Order, answer: Answer) -> Exception:
        status, pause = answer.status, self._pause(answer)
        said = f"answered {status}" + _detail(answer)
        if status == 202:
            obstacle = f"provisioner:{self.product}/{int(order.step)}"
            return Obstacle(obstacle, self._about(order, "is still at work"), delay=pause)
        if status in (409, 412):
            return Fenced(self._about(order, said))
        if status in (408, 425, 429) or status >= 500:
            return Retryable(self._about(order, said), delay=pause)
        if status // 100 == 3:
            return Permanent(
                self._about(
                    order, f"answered {status}: redirects are not followed, put the final address into the catalogue"
                )
            )
        if status // 100 == 4:
            return Permanent(self._about(order, said))
        return Retryable(self._about(order, said))

    def _pause(self, answer: Answer) -> timedelta | None:
        """Retry-After, in seconds or as a date; None where there is none, or none that can be read."""
        text = answer.headers.get("retry-after", "").strip()
        try:
            pause = timedelta(seconds=int(text)) if text.isdecimal() else parsedate_to_datetime(text) - self.now()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _about(self, order: Order, said: str) -> str:
        """One short line that names the provisioner, and nobody else: it goes into the log in the clear."""
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in said).split())
        if len(line) > _LONGEST_LOOKED_THROUGH:
            line = line[:_LONGEST_LOOKED_THROUGH].rpartition(" ")[0]  # half a name would not be found
        line = re.sub(r"\S+@\S+", "(personal)", line)
        for name in _persons(order):
            line = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "(personal)", line, flags=re.IGNORECASE)
        host = urlsplit(self.address).netloc
        return f"the provisioner of {self.product}, step {int(order.step)} ({host}) {line[:_LONGEST_REASON]}"


def body_of(order: Order, *, family: str, facts: Facts | None) -> bytes:
    """The request. `facts` is None in a removal, whose wish is the one that is undone."""
    scope = order.scope
    asked = {
        "idempotency_key": order.idempotency_key,
        "tenant_id": scope.tenant_id,
        "scope": {"kind": scope.kind, "tenant_id": scope.tenant_id, "key": scope.key},
        "product": scope.key,
        "family": family,
        "step": int(order.step),
        "direction": order.direction,
        "generation": order.generation,
        "region": order.placement.region if order.placement else None,
        "wish": order.wish.model_dump(mode="json"),
        "facts": facts.model_dump(mode="json") if facts is not None else None,
    }
    return json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()


def _completed(draft: Facts, said: Nothing | Settings | Location) -> Facts:
    match draft, said:
        case ConfigurationFacts(), Settings(settings=settings):
            return draft.model_copy(update={"settings": {**settings, **draft.settings}})
        case LicenseFacts(), Location(location=str(location)):
            return draft.model_copy(update={"location": location})
        case _:
            return draft


class _Problem(BaseModel):
    """RFC 9457, as far as we read it."""

    detail: str | None = None
    title: str | None = None


def _detail(answer: Answer) -> str:
    """What the provisioner gives as its reason; empty where it gives none that can be read."""
    try:
        problem = _Problem.model_validate_json(answer.body) if _is_json(answer) else _Problem()
    except ValidationError:
        return ""
    text = problem.detail or problem.title
    return f": {text}" if text else ""


def _is_json(answer: Answer) -> bool:
    return answer.media_type == "application/json" or answer.media_type.endswith("+json")


def _origin(address: str) -> tuple[str, str | None, int]:
    url = urlsplit(address)
    return url.scheme, url.hostname, url.port or (443 if url.scheme == "https" else 80)


def _persons(order: Order) -> list[str]:
    """Names of persons, and of the customer, that a provisioner may have from us; each part of them, longest first."""
    names: set[str] = set()
    if order.tenant.attributes is not None:
        names.add(order.tenant.attributes.value.administrator.name)
    if order.customer.details is not None:
        details = order.customer.details.value
        names |= {details.name, *(person.name for person in details.administrators)}
    parts = {part for name in names for part in (name, *name.split()) if len(part) > 2}
    return sorted(parts, key=lambda part: (-len(part), part))
