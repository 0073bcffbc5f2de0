"""Operators' acts on the whole: by themselves, since a command that records one needs no more of the engine."""

from __future__ import annotations

from application.operator_acts import Acts
from runtime.compose.parts import Parts
from runtime.compose.process import new_id, once, utc_now


@once
def acts_of(parts: Parts) -> Acts:
    return Acts(log=parts.log, clock=utc_now, new_id=new_id)
