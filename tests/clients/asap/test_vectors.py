"""The published vectors: the file in docs is the one that the tests hold the verifier against."""

from __future__ import annotations

import json

import pytest

from tenantry_client.asap import FixedKeys, Refused, Verifier
from tests.clients.asap import vectors
from tests.clients.asap.mutants import GOOD_TOKENS, MUTANTS

HEAD, *TOKENS = [json.loads(line) for line in vectors.VECTORS.read_text().splitlines()]


def test_the_published_vectors_are_those_of_the_tests() -> None:
    assert vectors.VECTORS.read_text().splitlines() == list(vectors.lines()), "run `make vectors`"


@pytest.mark.parametrize("vector", TOKENS, ids=lambda vector: vector["name"])
def test_the_verifier_does_with_each_vector_what_the_file_says(vector: dict[str, str | None]) -> None:
    verifier = Verifier(
        HEAD["audience"],
        FixedKeys({name: pem.encode() for name, pem in HEAD["keys"].items()}),
        may_call=HEAD["allowed_issuers"].__contains__,
        leeway=HEAD["leeway"],
        clock=lambda: HEAD["now"],
    )
    code = None
    try:
        verifier.verify(vector["token"])
    except Refused as refused:
        code = refused.code
    assert code == vector["code"]


def test_each_vector_stands_in_the_table_beside_what_other_libraries_do() -> None:
    page = vectors.TABLE.read_text()
    for mutant in MUTANTS:
        assert f"| {mutant.name} | `{mutant.code}` | " in page, "run `make vectors` with ASAP_NODE_MODULES"


def test_the_table_says_of_the_python_library_what_it_does_here() -> None:
    asked = vectors.atlassian_jwt_auth()
    if isinstance(asked, str):
        pytest.skip(asked)
    name, verdicts = asked
    cells = [row.split(" | ") for row in vectors.TABLE.read_text().splitlines() if row.count(" | ") >= 3]
    rows = {name.removeprefix("| "): said for name, _, said, *_ in cells}
    for mutant in MUTANTS:
        assert rows[mutant.name] == ("**accepted**" if verdicts[mutant.name] else "refused"), name
    assert sum(verdicts[mutant.name] for mutant in MUTANTS) >= 7
    assert all(verdicts[good] for good in GOOD_TOKENS)


def test_the_table_says_of_the_node_library_what_it_does_here() -> None:
    asked = vectors.jwt_authentication()
    if isinstance(asked, str):
        pytest.skip(asked)
    name, verdicts = asked
    assert f"{name} accepts {sum(verdicts[mutant.name] for mutant in MUTANTS)}" in vectors.TABLE.read_text()
    assert sum(verdicts[mutant.name] for mutant in MUTANTS) >= 6
