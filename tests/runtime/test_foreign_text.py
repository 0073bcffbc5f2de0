"""Is all that a terminal would obey shown instead, and is the data exact where a program reads it?"""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.foreign_text import json_text, visible

TEXTS = st.text(st.characters())  # surrogates as well
WHOLE = st.text(st.characters(exclude_categories=["Cs"]))
"""JSON reads two halves of a surrogate pair as the character that they make."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("acme", "acme"),
        (r"\[/x] [red]:bank:[/] \n", r"\[/x] [red]:bank:[/] \n"),
        ("a\nerror: forged", r"a\nerror: forged"),
        ("\x1b[31mred\x1b[0m\r\t\x00\x7f", r"\x1b[31mred\x1b[0m\r\t\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202eevil\u2066\u200f", r"\u202eevil\u2066\u200f"),
        ("a\u200bb\ufeffc\u00add\u2060", r"a\u200bb\ufeffc\xadd\u2060"),
        ("a\u2028b\u2029c\u00a0d\u3000e", r"a\u2028b\u2029c\xa0d\u3000e"),
        ("x\ufe0f\u3164\u2800\U000e0041", r"x\ufe0f\u3164\u2800\U000e0041"),
        ("half \ud800, byte \udcff", r"half \ud800, byte \udcff"),
        ("Zoë Müller, 東京, Ελλάδα, e\u0301", "Zoë Müller, 東京, Ελλάδα, e\u0301"),
        ("\u0338= x", "\\u0338= x"),
        ("a \u0338b\n\u0338", "a \\u0338b\\n\\u0338"),
        ("z" + "\u0301" * 7, "z" + "\u0301" * 4 + "\\u0301" * 3),
        ("\U0001f3e6", "\U0001f3e6"),
        ("\ue000\uffff\U0010ffff", r"\ue000\uffff\U0010ffff"),
    ],
    ids=ascii,
)
def test_what_a_terminal_would_obey_or_nobody_would_see_is_shown_as_its_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", r"Zo\xeb \u2013 \u6771"), ("latin-1", r"Zoë \u2013 \u6771"), ("utf-8", "Zoë – 東")],
)
def test_what_the_stream_cannot_hold_is_shown_as_its_escape(encoding: str, shown: str) -> None:
    assert visible("Zoë – 東", encoding) == shown


@given(TEXTS, st.sampled_from(["utf-8", "ascii", "latin-1"]))
def test_any_text_becomes_one_printable_line_that_stays_as_it_is(text: str, encoding: str) -> None:
    shown = visible(text, encoding)
    assert shown.isprintable()
    assert shown.encode(encoding).decode(encoding) == shown
    assert visible(shown, encoding) == shown


@given(TEXTS)
def test_what_comes_after_our_own_words_cannot_change_them(text: str) -> None:
    assert visible("reason: " + text).startswith("reason: ")
    assert not visible(text)[:1] or unicodedata.category(visible(text)[0]) not in ("Mn", "Me")


def test_every_character_of_unicode_is_shown_as_itself_or_as_its_escape() -> None:
    kept = 0
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        shown = visible(f"x{character}")[1:]
        kept += shown == character
        assert shown in (character, character.encode("unicode_escape").decode())
        category = unicodedata.category(character)
        if category[0] == "C" or (category[0] == "Z" and character != " "):
            assert shown != character, ascii(character)
    assert kept > 120_000


@given(
    st.recursive(
        WHOLE | st.none() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(WHOLE, inner)
    )
)
def test_json_is_the_exact_data_without_a_character_that_a_terminal_obeys(value: object) -> None:
    for encoding in ("utf-8", "ascii", "latin-1"):
        text = json_text(value, encoding=encoding)
        assert json.loads(text) == value
        assert text.isprintable()
        assert text.encode(encoding).decode(encoding) == text


def test_json_keeps_what_can_be_read() -> None:
    assert json_text({"name": "Zoë"}) == '{"name": "Zoë"}'
    assert json_text({"name": "Zoë\u202e\x7f\x1b"}) == '{"name": "Zoë\\u202e\\u007f\\u001b"}'
    assert json_text("\U0001f3e6\U000e0041") == '"\U0001f3e6\\udb40\\udc41"'
    assert json_text({"name": "Zoë"}, encoding="ascii") == '{"name": "Zo\\u00eb"}'


def test_all_of_unicode_in_one_value_is_read_back() -> None:
    everything = "".join(chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF)
    assert json.loads(json_text(everything)) == everything
    assert json.loads(json_text("\udcff")) == "\udcff"
