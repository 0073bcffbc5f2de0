"""Refusals as people read them: `pytest.raises` whose `match` is searched in the sentence of the error's problem."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from application.problem_texts import sentence

E = TypeVar("E", bound=BaseException)


@contextmanager
def refused(kind: type[E], *, match: str) -> Iterator[pytest.ExceptionInfo[E]]:
    """The body raises `kind`, and its sentence says `match`."""
    with pytest.raises(kind) as caught:
        yield caught
    assert re.search(match, sentence(caught.value)), sentence(caught.value)
