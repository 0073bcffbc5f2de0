"""The vectors of service tokens, for other implementations: `python -m tests.clients.asap.vectors` writes them.

    docs/reference/asap-vectors.jsonl   first a line with the clock, the audience and the keys, then a line a token
    docs/reference/asap-vectors.md      what other libraries do with each of them, where they are installed

The node library is looked for in the folder that ASAP_NODE_MODULES names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from tests.clients.asap.mutants import AUDIENCE, GOOD_TOKENS, ISSUER, KEYS, MUTANTS, NOW

REFERENCE: Final = Path(__file__).parents[3] / "docs" / "reference"
VECTORS: Final = REFERENCE / "asap-vectors.jsonl"
TABLE: Final = REFERENCE / "asap-vectors.md"
NODE_PROGRAM: Final = Path(__file__).parent / "jwt_authentication.js"

Verdicts = Mapping[str, bool]


def lines() -> Iterator[str]:
    """The lines of the file of vectors."""
    keys = {name: pem.decode() for name, pem in KEYS.items()}
    setting = {"now": NOW, "leeway": 10, "audience": AUDIENCE, "allowed_issuers": [ISSUER], "keys": keys}
    yield json.dumps(setting)
    for name, token in GOOD_TOKENS.items():
        yield json.dumps({"name": name, "code": None, "token": token})
    for mutant in MUTANTS:
        yield json.dumps({"name": mutant.name, "code": mutant.code, "token": mutant.text})


def atlassian_jwt_auth() -> tuple[str, Verdicts] | str:
    """The library's name and which tokens it accepts; a text that says why it was not asked."""
    try:
        named = f"atlassian-jwt-auth {version('atlassian-jwt-auth')}"
    except PackageNotFoundError:
        return "atlassian-jwt-auth is not installed"
    from tests.clients.asap.reference_library import accepts  # noqa: PLC0415

    return named, {name: accepts(token) for name, token in _tokens()}


def jwt_authentication() -> tuple[str, Verdicts] | str:
    """As above, for the library of node."""
    modules = os.environ.get("ASAP_NODE_MODULES")
    if not modules or not (Path(modules) / "jwt-authentication").is_dir():
        return "ASAP_NODE_MODULES names no folder in which npm has installed jwt-authentication"
    node = shutil.which("node")
    if node is None:
        return "node is not there"
    done = subprocess.run(
        [node, str(NODE_PROGRAM), str(VECTORS)],
        env={**os.environ, "NODE_PATH": modules},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    package = json.loads((Path(modules) / "jwt-authentication" / "package.json").read_text())
    verdicts = {line["name"]: line["accepted"] for line in map(json.loads, done.stdout.splitlines())}
    return f"npm jwt-authentication {package['version']}", verdicts


def _tokens() -> Iterator[tuple[str, str]]:
    yield from GOOD_TOKENS.items()
    yield from ((mutant.name, mutant.text) for mutant in MUTANTS)


class LibraryMissing(Exception):
    """One of the libraries that the table compares is not installed."""


def table() -> str:
    """The page. Raises LibraryMissing: half a table would replace a whole one."""
    columns: list[tuple[str, Verdicts]] = []
    for found in (atlassian_jwt_auth(), jwt_authentication()):
        if isinstance(found, str):
            raise LibraryMissing(found)
        columns.append(found)
    heads = ["token", "Tenantry", *(name for name, _ in columns)]
    rows = [[name, "accepted", *(_said(verdicts[name]) for _, verdicts in columns)] for name in GOOD_TOKENS]
    rows += [
        [mutant.name, f"`{mutant.code}`", *(_said(verdicts[mutant.name], bad=True) for _, verdicts in columns)]
        for mutant in MUTANTS
    ]
    counts = " and ".join(
        f"{name} accepts {sum(verdicts[mutant.name] for mutant in MUTANTS)}" for name, verdicts in columns
    )
    body = "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])
    return f"""# Vectors of service tokens

`make vectors` writes this page and [asap-vectors.jsonl](asap-vectors.jsonl) from `tests/clients/asap/mutants.py`. The
first line of the file has the clock, the leeway, the audience, the allowed issuers and the public keys; each other line
a token with its name and the code of its refusal (`null`: it is accepted). The keys are known to everybody.

Of the {len(MUTANTS)} bad tokens below Tenantry's client accepts none, {counts}.
Both are asked with the same clock, leeway, keys, audience and (where the library has such a list) allowed issuers.
Some of what they accept is a rule that is only ours: a stricter reading of JSON and base64url, no unknown fields in
the header, a bound on the length.

{body}
"""


def _said(accepted: bool, *, bad: bool = False) -> str:
    if accepted:
        return "**accepted**" if bad else "accepted"
    return "refused"


def main() -> None:
    """Writes both files; without the libraries only the first."""
    VECTORS.write_text("".join(f"{line}\n" for line in lines()))
    try:
        TABLE.write_text(table())
    except LibraryMissing as error:
        print(f"{TABLE.name} stays as it is: {error}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
