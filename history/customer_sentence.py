"""Sentence for the customer: what can be said to the people of a tenant about one of its products.

It is made from an explanation, in words that they know. It names no part of ours, no person, and no reason that was
written down: a reason may be about people, or about a bill.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from domain.times import in_utc
from history.explain import Explained

_CLOSED: Final = (
    ("destroyed", "is closed, because the site was cancelled"),
    ("purge", "was removed with its data, after the time in which it could be restored"),
    ("suspended", "is suspended"),
    ("expired", "is closed, because its license has ended"),
    ("inactive", "is closed, because its license is not active"),
    ("unlicensed", "is closed, because there is no license for it"),
    ("deactivated", "is not part of the subscription any more"),
    ("never", "is not part of the subscription"),
)
"""By the name of the obstacle, the first that applies; `host ...` stands for what closes the product that it needs."""


def sentence_for_customer(explained: Explained, *, name: str) -> str:
    """One or two sentences. `name` is the product's name as customers know it."""
    if explained.obstacles:
        return _closed(explained, name)
    if explained.usable and all(each.at.step is None for each in explained.standing):  # a hold alone changes nothing
        return f"{name} is available."
    if explained.usable:
        return f"{name} is available; a change to it is on its way and is not complete yet."
    if any("database was missing" in each for each in explained.lacking):
        return f"{name} is not available: we found a problem with its data and are working on it."
    if any(each.state in ("failed", "on_hold") for each in explained.standing):
        stopped = "could not be set up" if explained.level == "absent" else "is not available"
        return f"{name} {stopped}. Our operators know of it and are working on it."
    if explained.level == "absent":
        return f"{name} is being set up."
    return f"{name} is not available at the moment. It comes back by itself as soon as a change is complete."


def _closed(explained: Explained, name: str) -> str:
    text = next((text for obstacle, text in _CLOSED if obstacle in explained.obstacles), None)
    if text is None:
        text = "is closed, because the product that it belongs to is closed"
    since = explained.desired_state[0].since[0].time if explained.desired_state[0].since else None
    kept = " Its data is kept." if explained.level in ("closed", "open") and "purge" not in explained.obstacles else ""
    return f"{name} {text}{_since(since)}.{kept}"


def _since(time: datetime | None) -> str:
    return f", since {in_utc(time):%Y-%m-%d %H:%M} UTC" if time is not None else ""
