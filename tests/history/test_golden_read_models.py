"""Do the events of all years still become the read models that they became then?

Every stored form that was ever written lies in tests/histories/. All of them are read as the projector reads them and
folded into the read models, which must be those of golden_read_models.json: once for everything that builds up, and
once with what ends it. Who adds an event or changes a handler sees here what becomes of the old ones.
`python -m tests.history.test_golden_read_models` writes the file anew.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.postgres.event_mapper import EventMapper
from domain.event import Recorded
from domain.event_registry import REGISTRY
from projections import INTEGRATION, PROJECTIONS
from projections.base import Fold, Projection, storable
from tests.adapters.postgres.test_event_mapper import HISTORIES, GoldenKeys

GOLDEN: Final = Path(__file__).parent / "golden_read_models.json"

ENDINGS: Final = (
    "step-missing",
    "step-completed-removal",
    "scope-converged-purged",
    "tenant-destroyed",
    "tenant-purge-started",
    "tenant-purged",
)
"""What takes away what the others built, in this order, after them."""


def history(*, ended: bool) -> list[Recorded]:
    names = sorted({path.stem for path in HISTORIES.glob("*.json")} - set(ENDINGS))
    mapper, facts = EventMapper(GoldenKeys()), []
    for position, name in enumerate([*names, *(ENDINGS if ended else ())], 1):
        said = json.loads((HISTORIES / f"{name}.json").read_text())
        state = json.dumps(said["state"]).encode()
        facts.append(mapper.to_recorded(said["stream"], said["version"], said["topic"], state, position=position))
    return facts


def read_models(facts: list[Recorded]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for projection in (*PROJECTIONS, INTEGRATION):
        fold = Fold(change for fact in facts for change in projection.changes_of(fact))
        for table in projection.tables:
            rows = sorted(fold.tables.get(table, ()), key=lambda row: [str(part) for part in row[0]])
            found[table.name] = [
                {
                    "key": list(key),
                    **{name: storable(value) for name, value in sorted(row.items())},
                }
                for key, row in rows
            ]
    return found


def golden() -> str:
    stages = {"built": read_models(history(ended=False)), "ended": read_models(history(ended=True))}
    return json.dumps(stages, indent=1, ensure_ascii=False, default=str) + "\n"


def test_every_event_of_all_years_becomes_the_read_models_that_it_became_then() -> None:
    assert {type(fact.event) for fact in history(ended=True)} == REGISTRY.events
    assert json.loads(golden()) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("projection", [*PROJECTIONS, INTEGRATION], ids=lambda each: each.name)
def test_a_projection_takes_the_events_that_the_registry_names_and_no_others(projection: Projection) -> None:
    takes = set()
    for fact in history(ended=True):
        with suppress(AttributeError, AssertionError, KeyError):  # a handler may not expect the events of others
            if list(projection.handle(fact)):
                takes.add(type(fact.event))
    assert takes == projection.handles


if __name__ == "__main__":
    GOLDEN.write_text(golden())
