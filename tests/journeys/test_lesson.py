"""Are the commands of the lesson on history told with what they really print, on what the demo leaves?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.journeys.lesson import Lesson, agree, steps
from tests.journeys.running import ROOT

PAGE = (ROOT / "docs/tutorial/history.md").read_text()


@pytest.mark.lesson
@pytest.mark.timeout(900)
def test_the_lesson_on_history_shows_what_its_commands_print() -> None:
    with tempfile.TemporaryDirectory(prefix="lesson-") as folder:
        told = list(Lesson(Path(folder)).tell(PAGE))
    wrong = [
        "\n".join((f"$ {step.command}", *step.shown, "-- and this was printed:", printed))
        for step, printed in told
        if not agree(step.shown, printed)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_lesson_on_history_has_every_command_that_looks_back() -> None:
    commands = [step.command for step in steps(PAGE)]
    for words in COMMANDS:
        assert any(all(word in command.split() for word in words.split()) for command in commands), words


COMMANDS = """
tenantry demo
tenantry show --at
tenantry diff --from --to
tenantry timeline --kind
tenantry timeline --product
tenantry timeline --since
tenantry timeline --json
tenantry timeline --follow
tenantry explain --product --at
tenantry replay as-of --into
tenantry replay as-of --only --verify
tenantry replay compare
tenantry replay rebuild --reason
tenantry replay drop-previous --reason
tenantry runs hold --reason --as
tenantry runs release --reason
tenantry quarantine discard --reason
tenantry acts --by
tenantry audit seal
tenantry audit verify
tenantry audit verify --checkpoint
tenantry audit prove
tenantry audit consistency
tenantry audit checkpoint export
tenantry audit checkpoint key
tenantry audit views --sample
tenantry audit views --all
tenantry audit log
tenantry audit export --with-proofs
tenantry audit export parquet
tenantry audit export csv --tenant --from --to
tenantry audit export-keys
tenantry import --keys
""".strip().splitlines()


def test_what_is_shown_is_held_against_what_was_printed() -> None:
    shown = ["position 12 at 2026-11-28 07:55:18.666 …", "…", "│ a  │ b │", "└────┴───┘", "end"]
    same = "position 7 at 2026-12-01 00:00:00.001 <- x\nmore\nmore\n│ a      │ b │\n└────────┴───┘\nend   \n"
    assert agree(shown, same)
    for wrong in (
        same.replace("position", "positions"),
        same.replace("end", ""),
        same.replace("b", "c"),
        same.replace("7 at", "at"),
        f"{same}more\n",
    ):
        assert not agree(shown, wrong), wrong
    assert not agree(["one", "two"], "one\nand\ntwo\n")


def test_a_number_that_is_shown_is_the_number_that_came_in_the_commands_that_follow(tmp_path: Path) -> None:
    page = """
Text, and `$ nothing` of it is run.

    $ echo position 4711 of 2
    position 1234 of 2
    $ WHO=me
    $ echo $WHO 1234 9999 2

    me 4711 9999 2
"""
    first, second = Lesson(tmp_path).tell(page)
    assert first[1] == "position 4711 of 2\n"
    assert second[1] == "me 4711 9999 2\n"
    assert second[0].shown == ["", "me 4711 9999 2"]


def test_a_command_that_is_shown_to_be_interrupted_goes_on_beside_the_others(tmp_path: Path) -> None:
    page = """
    $ bash -c 'trap "echo over; exit" INT; echo ready; while :; do sleep 0.1; done'
    ready
    over
    ^C

    $ echo meanwhile
    meanwhile
"""
    told = list(Lesson(tmp_path).tell(page))
    assert [step.command.split()[0] for step, _ in told] == ["echo", "bash"]
    assert all(agree(step.shown, printed) for step, printed in told)
