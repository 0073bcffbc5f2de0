"""Report on a rehearsal: the steps, the systems that are called, what cannot be undone, and how it ends, as data."""

from __future__ import annotations

from typing import Any, Final

from application.description import STEP_NAMES
from application.rehearsal import Irreversible, Rehearsal
from history.story import spec_text

NOT_UNDONE: Final[dict[Irreversible, str]] = {
    "data-goes": "the database goes, with all data in it",
    "purge-begins": "the point of no return: what is purged cannot be restored",
    "name-is-freed": "the site name is free for others",
}

BECAUSE: Final = "a rehearsal"
"""The reason of the act that is rehearsed: it is recorded nowhere."""


def rehearsal_data(found: Rehearsal) -> dict[str, Any]:
    return {
        "steps": [
            {
                "scope": str(each.scope),
                "step": {"number": int(each.step), "name": STEP_NAMES[each.step]},
                "direction": each.direction,
                "compensating": each.compensating,
                "spec": spec_text(each.spec),
                "system": each.system,
                "irreversible": each.irreversible,
            }
            for each in found.steps
        ],
        "systems": found.systems,
        "irreversible": [
            *({"of": tenant, "what": what} for tenant, what in found.passed),
            *({"of": str(each.scope), "what": each.irreversible} for each in found.steps if each.irreversible),
        ],
        "ends": {
            str(scope): {"level": end.level, "state": end.state, "reason": end.reason}
            for scope, end in found.ends.items()
        },
        "whole": found.is_whole,
    }
