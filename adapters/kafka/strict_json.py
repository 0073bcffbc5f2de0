"""Strict JSON: the value of a message, bounded in size, depth and entries, without what PostgreSQL cannot store.

Text is free of NUL and of half surrogate pairs, each key stands once, numbers are finite. All JSON that leaves here is
no deeper than MAX_DEPTH. An error repeats nothing of the input, which may be about a person.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, Final, Never

from domain.errors import Code, Malformed, problem

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
MAX_ENTRIES: Final = 1000


def malformed(rule: Code, detail: str) -> Malformed:
    """The refusal of a message whose bytes do not fit; `detail` says what is wrong, and what to send."""
    return Malformed(problem(rule, detail=detail))


def parse_json(value: bytes | None) -> Any:
    """The JSON of a message, read strictly. Malformed says what is wrong with it, and repeats nothing of it."""
    if not value:
        raise malformed("empty", "the message has no value: send the event, a tombstone says nothing here")
    if len(value) > MAX_BYTES:
        raise malformed("too-large", f"the value has {len(value)} bytes: send at most {MAX_BYTES}")
    _refuse_other_encodings(value)
    try:
        parsed = _DECODER.decode(value.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise malformed("not-json", f"not UTF-8 at byte {error.start}: send JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise malformed("not-json", f"the value is not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        _too_deep()
    except ValueError:
        raise malformed("not-json", "an integer in the value is too long: send at most 4300 digits") from None
    # A walk costs more than the parser. Only an escape can bring in NUL or half a surrogate pair: the decoder
    # refuses both in the raw. And what has few brackets and commas is neither deep nor long.
    if b"\\u" in value or value.count(b"{") + value.count(b"[") + value.count(b",") > MAX_DEPTH:
        _walk(parsed)
    return parsed


def _refuse_other_encodings(value: bytes) -> None:
    """Their names are shown: "Expecting value at character 0" does not help where a screen shows good JSON."""
    if value.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in value[:4]:
        raise malformed("not-json", "the value is in UTF-16 or UTF-32: send JSON in UTF-8")
    if value.startswith(codecs.BOM_UTF8):
        raise malformed("not-json", "the value begins with a byte order mark: send UTF-8 without one")


def _walk(root: object) -> None:
    """Level by level, so that no input can exhaust our own stack; and what is long is not worth validating:
    to find 400,000 problems takes seconds, in which its partition stands still."""
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for node in level:
            if isinstance(node, (dict, list)) and len(node) > MAX_ENTRIES:
                raise malformed("too-large", f"a list or object has over {MAX_ENTRIES} entries: send fewer")
            if isinstance(node, dict):
                below += node
                below += node.values()
            elif isinstance(node, list):
                below += node
            elif isinstance(node, str) and _UNSTORABLE.search(node):
                raise malformed("not-json", "NUL or half a surrogate pair in a text cannot be stored: leave it out")
        if not below:
            return
        level = below
    _too_deep()


def _too_deep() -> Never:
    raise malformed("not-json", f"the value is nested deeper than {MAX_DEPTH} levels: flatten it") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise malformed("not-json", "a key stands twice in one JSON object: send it once")
    return members


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(_: str) -> Never:
    raise malformed("not-json", "NaN and numbers beyond the range of a double are not JSON: leave them out")


_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_each_key_once, parse_float=_finite, parse_constant=_no_number)
CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
