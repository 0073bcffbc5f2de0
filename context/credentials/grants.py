"""Grants of credentials: which service may have the database passwords of which families, in which regions.

    [[grant]]
    caller = "notes"
    families = ["confluence"]
    regions = ["eu"]

Default deny: what no grant names is refused. The allow-list says who may call the service at all, the grants what
is given to whom.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tenantry_client.asap.key_ids import check_name
from tenantry_client.asap.refusals import Refused

_KEYS: Final = frozenset({"caller", "families", "regions"})


class InvalidGrants(ValueError):
    """The file cannot be used: which grant, what is wrong, what to write."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One `[[grant]]`."""

    caller: str
    families: frozenset[str]
    regions: frozenset[str]


class Grants:
    """All grants of a file."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self.grants = tuple(grants)

    @classmethod
    def parse(cls, text: str, *, source: str = "grants.toml") -> Grants:
        """Raises InvalidGrants with the first thing that is wrong."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidGrants(f"{source}: not TOML: {error}") from None
        entries = content.get("grant", [])
        if content.keys() - {"grant"} or not isinstance(entries, list):
            raise InvalidGrants(f"{source}: write [[grant]] entries, and nothing else")
        return cls(_grant(each, f"{source}: grant {number}") for number, each in enumerate(entries, start=1))

    @classmethod
    def read(cls, file: Path) -> Grants:
        """Raises InvalidGrants, OSError and UnicodeDecodeError."""
        return cls.parse(file.read_text("utf-8"), source=str(file))

    def allow(self, caller: str, family: str, region: str) -> bool:
        """Whether one grant names all three."""
        return any(each.caller == caller and family in each.families and region in each.regions for each in self.grants)


def _grant(content: object, place: str) -> Grant:
    if not isinstance(content, Mapping) or content.keys() != _KEYS:
        raise InvalidGrants(f"{place}: write caller, families and regions, and nothing else")
    try:
        caller = check_name(content["caller"], "caller")
    except Refused as error:
        raise InvalidGrants(f"{place}: {error}") from None
    return Grant(caller, _texts(content, "families", place), _texts(content, "regions", place))


def _texts(content: Mapping[str, Any], key: str, place: str) -> frozenset[str]:
    values = content[key]
    if not isinstance(values, list) or not values or not all(isinstance(each, str) and each for each in values):
        raise InvalidGrants(f"{place}: {key} is a list of texts, at least one")
    return frozenset(values)
