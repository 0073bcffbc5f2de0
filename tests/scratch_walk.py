"""The way of a scratch event and a scratch command through a tree that knows them: what test_architecture.py runs.

It runs in a copy of the tree, in which one class and one line for each were added (`plant`), and nothing else was
edited: `python -m tests.scratch_walk ADDRESS FOLDER`. It prints what it saw as JSON.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from adapters.kafka.cloudevents_reader import InboundMessage, read
from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.json_schemas import write
from adapters.kafka.preserved_messages import Preserved
from adapters.postgres import overview
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.log_copy import LogCopy
from adapters.postgres.log_faults import LogFaults
from adapters.postgres.message_history import Arrivals
from application.unit_of_work import UnitOfWork
from audit.export import Choice, export
from audit.log_check import check
from domain import operator_events
from domain.event import Cause, Recorded
from history.acts import acts_in
from history.timeline import timeline
from tests.fakes.sealing import InMemorySealingKeys
from tests.workers.projecting import Projectors, until_idle

EVENT: Final = '''
class ScratchNoted(Event):
    """A scratch event."""

    TOPIC: ClassVar[str] = "tenantry.scratch-noted"
    customer_id: str
    note: Personal
    colour: str
    reason: str


'''
LINE: Final = '        EventEntry(operators.ScratchNoted, ignored="a scratch event", subject=_of_customer),\n'
COMMAND: Final = '''
class PauseProduct(Data):
    """`product.paused`: a scratch command."""

    tenant_id: names.TenantId
    product: names.ProductKey


'''
PLANT: Final = (
    ("domain/operator_events.py", "from domain.event import", "from domain.personal import Personal\n"),
    ("domain/operator_events.py", "class ReadModelsRebuilt(", EVENT),
    ("domain/event_registry.py", "        EventEntry(operators.MessagesReread", LINE),
    ("domain/commands.py", "class RestoreTenant(", COMMAND),
    ("domain/commands.py", '    "license.updated":', '    "product.paused": PauseProduct,\n'),
)
"""What is added, and before what of which file: of the event one class and one line, of the command the same."""


def plant(tree: Path) -> None:
    for name, before, text in PLANT:
        file = tree / name
        code = file.read_text()
        assert code.count(before) == 1, f"{before} is not once in {name}"
        file.write_text(code.replace(before, text + before))


def walk(url: str, folder: Path) -> dict[str, Any]:
    noted = operator_events.ScratchNoted  # type: ignore[attr-defined]
    event = noted(customer_id="c-1", note="Ada Lovelace is ill", colour="red", reason="a test")
    cause = Cause(kind="operator", source="Ada (ada@console)", id="1")
    now = datetime(2026, 6, 1, tzinfo=UTC)
    keys = InMemorySealingKeys()
    log = PostgresEventLog(url, keys)
    log.record(UnitOfWork(events=[Recorded("operator:t-1", 1, UUID(int=7), now, cause, "c", event)]))
    log.advance_mark()
    facts = list(log.load({"operator:t-1": 0})["operator:t-1"])
    with Projectors(url) as projectors:
        until_idle(projectors())
    with LogCopy(url) as copy:
        exported = export(copy, folder / "log", Choice("jsonl")).manifest.events
    with LogFaults(url) as faults:
        checked = check(faults)
    [entry] = timeline(facts, Arrivals())
    [act] = acts_in(facts)
    write(folder)
    headers, value = to_structured(
        "product.paused", {"tenant_id": "t-1", "product": "jira"}, source="/c", id="1", time=now, revision=None
    )
    message = read(Preserved(key=b"t-1", value=value, headers=headers))
    log.close()
    return {
        "comes back": facts[0].event == event,
        "encrypted": keys.seals,
        "stored": (folder / "log").read_text(),
        "exported": exported,
        "faults": len(checked.faults),
        "lags": sorted({row["lag"] for row in overview.status(url)["projections"]}),
        "halted": any(row["halted"] for row in overview.status(url)["projections"]),
        "timeline": [entry.kind, entry.what, entry.text],
        "act": [act.what, act.why, dict(act.details)],
        "command": type(message.command).__name__ if isinstance(message, InboundMessage) else str(message),
        "schema": (folder / "product.paused.json").exists(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(walk(sys.argv[1], Path(sys.argv[2]))))
