"""Measures: what a process counts and times while it works, and the listener that metrics are made from.

The parts of the engine call `measure` where something has happened. Without a listener, which is the default, the call
does nothing: the engine knows no library of metrics, and a command never imports one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Measure = Literal["message", "step", "append", "webhook", "time_to_open", "request"]
"""message: how many, by type and outcome. The others: seconds. step: by kind of scope, step, direction, executor and
outcome. webhook: by method and status class. request: by status class. append and time_to_open: without labels."""

Listener = Callable[[Measure, float, tuple[str, ...]], None]

_listeners: list[Listener] = []


def measure(name: Measure, value: float, *labels: str) -> None:
    """Tell the listener, where there is one. May be called from any thread."""
    for listener in _listeners:
        listener(name, value, labels)


def listen(listener: Listener) -> Callable[[], None]:
    """From here on the listener hears of every measure; the function that is returned ends that."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)
