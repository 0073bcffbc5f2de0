"""Rates in memory: the fake of the coordinator, with a clock of its own, which counts and can be away or slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from application.rates import Admitted, Rate, admitted
from domain.errors import Unavailable


@dataclass
class FakeRates:
    """`now` in seconds. `asked` counts the questions."""

    now: Callable[[], float] = time.monotonic
    is_away: bool = False
    asked: int = 0
    next_us: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, rate: Rate, requests: int) -> Admitted:
        with self.lock:
            self.asked += 1
            if self.is_away:
                raise Unavailable("the coordinator does not answer (a test): start it")
            now_us = int(self.now() * 1e6)
            found, self.next_us[rate.name] = admitted(
                rate, requests, next_us=self.next_us.get(rate.name, 0), now_us=now_us
            )
            return found
