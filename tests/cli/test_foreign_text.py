"""Do the commands show what was really recorded, whatever commerce and operators have written into it?

The texts go the whole way: through the wire, or an operator's `--reason`, the log and the read models, to the terminal.
"""

from __future__ import annotations

import json

import pytest

from adapters.kafka.cloudevents_writer import to_structured
from adapters.kafka.ports import Message
from runtime.compose import utc_now
from runtime.compose.intake import lifecycle_of, messages_of
from runtime.foreign_text import visible
from tests.cli.conftest import JIRA, TENANT, Desk

NASTY = (
    "\\[/x] :bank: [red]no[/] \x1b[2J\x1b]0;owned\x07\nerror: forged\r\x9b31m\u202egnp.exe\u2066\u200b\ufeff\u2028 é"
)
SOURCE = "/commerce/\\[/x]:bank:\u202e[link=x]"

READING = [
    ["show", TENANT],
    ["show", TENANT, "--at", "4"],
    ["diff", TENANT, "--from", "1", "--to", "6"],
    ["tenants"],
    ["status"],
    ["timeline", TENANT],
    ["explain", TENANT],
    ["acts"],
    ["runs", "list"],
    ["runs", "show", JIRA],
    ["quarantine", "list"],
    ["quarantine", "show", "1"],
    ["audit", "log"],
    ["audit", "views", "--all"],
]


def quarantined(desk: Desk) -> None:
    """A message that is refused, with all that a source, an id and a text may hold."""
    data = {"tenant_id": TENANT, "product": NASTY, "edition": NASTY, "users": NASTY, "reason": NASTY}
    headers, value = to_structured("product.activated", data, source=SOURCE, id=SOURCE, time=utc_now(), revision=9)
    message = Message(
        topic="tenantry.lifecycle",
        partition=1,
        offset=7,
        key=NASTY.encode(),
        value=value,
        headers=(*headers, ("x", NASTY.encode())),
        timestamp_ms=0,
        topic_id="t",
    )
    lifecycle_of(desk.parts).intake([messages_of(desk.parts).read(message)])


@pytest.fixture
def told(desk: Desk) -> Desk:
    desk.work()
    desk.comes("product.suspended", product="jira-software", reason=NASTY)
    quarantined(desk)
    desk.work()
    desk.says("runs", "hold", JIRA, "--reason", NASTY, "--as", NASTY)
    desk.work()
    return desk


def test_every_command_that_shows_them_shows_lines_of_its_own_and_json_is_exact(told: Desk) -> None:
    shown, exact = "", ""
    for command in READING:
        text = told.says(*command)
        assert all(line.isprintable() for line in text.split("\n")), command
        assert not any(line.lstrip("│┃ ").startswith("error: forged") for line in text.split("\n")), command
        assert "🏦" not in text, command
        shown += text
        if command[0] not in ("timeline", "acts"):  # one value a line
            exact += json.dumps(told.json(*command))
            assert told.says(*command, "--json").rstrip("\n").isprintable()
    assert visible(NASTY.strip()) in shown
    assert visible(SOURCE) in shown
    assert json.dumps(NASTY) in exact
    assert json.dumps(SOURCE) in exact


def test_what_is_refused_is_told_in_one_visible_line(told: Desk) -> None:
    for arguments in (
        ["show", f"t{NASTY}"],
        ["runs", "show", f"site:{NASTY}"],
        ["explain", TENANT, "--product", NASTY],
        ["replay", "compare", "public", NASTY],
        ["timeline", TENANT, "--since", NASTY],
    ):
        line = told.says(*arguments, code=2)
        assert line.endswith("\n")
        assert line[:-1].isprintable(), arguments
