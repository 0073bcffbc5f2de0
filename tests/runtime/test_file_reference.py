"""Do the pages on catalogue and policy say what the models that read the files know?"""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.catalog import CommandedExecutor, ForeignExecutor, Product
from domain.policy import Policy
from runtime import file_reference

REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference"


@pytest.mark.parametrize("page", file_reference.PAGES)
def test_the_page_is_what_the_models_say(page: str) -> None:
    assert (REFERENCE / page).read_text() == file_reference.PAGES[page](), "run `make schemas`"


@pytest.mark.parametrize("page", file_reference.PAGES)
def test_every_key_has_words(page: str) -> None:
    rows = [line for line in file_reference.PAGES[page]().splitlines() if line.startswith("| `")]
    empty = [row for row in rows if not row.removesuffix("|").rpartition("|")[2].strip()]
    assert not empty, f"say in the comments of the file in domain/ what these are: {empty}"


def test_no_key_is_left_out() -> None:
    policy, catalogue = file_reference.policy(), file_reference.catalogue()
    for name, field in Policy.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        assert (f"## `[{name}]`" if inner else f"| `{name}` |") in policy
        assert all(f"| `{key}` |" in policy for key in inner or ())
    for model in (Product, ForeignExecutor, CommandedExecutor):
        assert all(f"| `{key}` |" in catalogue for key in model.model_fields)
