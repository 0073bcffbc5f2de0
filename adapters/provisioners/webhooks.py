"""Webhooks: steps that the provisioner of another team brings about over HTTP.

We ask, by one signed POST for each look; the same key always asks for the same effect, so asking again is how we wait
and how we go on after a crash. Nothing about a request is kept but the intent in the log.

    POST ──▶ 200, 201, 204  done: facts
         ──▶ 202       at work: look at its Location, if it names one ──▶ 200 done, 202 look again after Retry-After;
                       or sooner, when it calls back: then its reply is the outcome, and no request is sent (replies.py)
         ──▶ 409, 412  Fenced: it has seen a higher generation
         ──▶ 408, 425, 429, 5xx, no answer    Unreachable, after Retry-After: an outage uses up no attempt
         ──▶ an answer that does not fit      Retryable
         ──▶ 3xx, other 4xx                   Permanent

Read models show our own result, which our pure executors make from the spec. They go
along with the request; the answer may add to them what only the provisioner knows (orders.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit

from pydantic import BaseModel, ValidationError

from adapters.provisioners.orders import Draft, Misfit, about, body_of, completed, obstacle_of
from adapters.provisioners.signed_requests import Method, NoAnswer, SignedAnswer, SignedRequests, SigningSecret
from application.ports.resources import Order
from application.ports.tracing import traceparent_of
from domain.errors import Fenced, Obstacle, Permanent, Retryable, Unreachable
from domain.scope.steps import StepResult

_SHORTEST_PAUSE: Final = timedelta(seconds=1)
_LONGEST_PAUSE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Brings one step of one product about by requests to the service at `address`."""

    requests: SignedRequests
    family: str
    address: str
    secret: SigningSecret = field(repr=False)
    draft: Draft
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def ensure(self, order: Order) -> StepResult:
        draft = self.draft(order)
        answer = self._ask(order, draft)
        if answer.status == 204:
            return draft
        if not _is_json(answer):
            raise Retryable(self._about(order, "did not answer with application/json: 204 needs none"))
        try:
            return completed(order, draft, answer.body)
        except Misfit as misfit:
            raise Retryable(self._about(order, f"answered what does not fit: {misfit}")) from None

    def remove(self, order: Order) -> None:
        self._ask(order, None)

    def _ask(self, order: Order, draft: StepResult | None) -> SignedAnswer:
        """The answer that says done."""
        answer = self._send(order, "POST", self.address, body_of(order, family=self.family, result=draft))
        if answer.status == 202 and "location" in answer.headers:
            answer = self._send(order, "GET", self._status_address(order, answer.headers["location"]), b"")
            if answer.status in (404, 410):
                raise Retryable(self._about(order, "does not know its own status address"))
        if answer.status in (200, 201, 204):
            return answer
        raise self._error(order, answer)

    def _send(self, order: Order, method: Method, address: str, body: bytes) -> SignedAnswer:
        try:
            return self.requests.send(
                method,
                address,
                key=order.idempotency_key,
                secret=self.secret,
                body=body,
                traceparent=traceparent_of(order),
            )
        except NoAnswer as error:
            raise Unreachable(obstacle_of(order), self._about(order, str(error))) from error
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

    def _error(self, order: Order, answer: SignedAnswer) -> Exception:
        status, pause = answer.status, self._pause(answer)
        answered = f"answered {status}" + _detail(answer)
        if status == 202:
            return Obstacle(obstacle_of(order), self._about(order, "is still at work"), delay=pause)
        if status in (409, 412):
            return Fenced(self._about(order, answered))
        if status in (408, 425, 429) or status >= 500:
            return Unreachable(obstacle_of(order), self._about(order, answered), delay=pause)
        if status // 100 == 3:
            return Permanent(
                self._about(
                    order, f"answered {status}: redirects are not followed, put the final address into the catalogue"
                )
            )
        if status // 100 == 4:
            return Permanent(self._about(order, answered))
        return Retryable(self._about(order, f"{answered}: 200, 201, 204 and 202 are known"))

    def _pause(self, answer: SignedAnswer) -> timedelta | None:
        """Retry-After, in seconds or as a date; None where there is none, or none that can be read."""
        text = answer.headers.get("retry-after", "").strip()
        try:
            pause = timedelta(seconds=int(text)) if text.isdecimal() else parsedate_to_datetime(text) - self.now()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)

    def _about(self, order: Order, text: str) -> str:
        return about(order, urlsplit(self.address).netloc, text)


class _Problem(BaseModel):
    """RFC 9457, as far as we read it."""

    detail: str | None = None
    title: str | None = None


def _detail(answer: SignedAnswer) -> str:
    """What the provisioner gives as its reason; empty where it gives none that can be read."""
    try:
        problem = _Problem.model_validate_json(answer.body) if _is_json(answer) else _Problem()
    except ValidationError:
        return ""
    text = problem.detail or problem.title
    return f": {text}" if text else ""


def _is_json(answer: SignedAnswer) -> bool:
    return answer.media_type == "application/json" or answer.media_type.endswith("+json")


def _origin(address: str) -> tuple[str, str | None, int]:
    url = urlsplit(address)
    return url.scheme, url.hostname, url.port or (443 if url.scheme == "https" else 80)
