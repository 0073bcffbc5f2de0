"""Mutants of the engine's side of the tenant context: each is planted, and a test of ours fails by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from application import in_force as recorder
from projections import contexts
from tests.application import test_in_force as of_the_recorder
from tests.projections import test_contexts as of_documents


def in_force_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder waits for no lease to end."""
    monkeypatch.setattr(recorder, "wait_of", lambda _: 0.0)


def opens_on_intent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product is as open as commerce wants it, whatever the saga has done."""
    product = contexts._product  # noqa: SLF001 - it is what the mutant takes away

    def planted(key: str, desired: Any, *others: Any) -> Any:
        return replace(product(key, desired, *others), level=desired)

    monkeypatch.setattr(contexts, "_product", planted)


def closes_on_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product is as open as it was made last, whatever commerce says since."""
    product = contexts._product  # noqa: SLF001 - it is what the mutant takes away
    monkeypatch.setattr(contexts, "_product", lambda key, _, *others: product(key, "open", *others))


@pytest.mark.parametrize(
    ("plant", "test"),
    [
        (in_force_at_once, of_the_recorder.test_a_change_is_in_force_after_a_lease_and_a_margin_and_not_before),
        (opens_on_intent, of_documents.test_a_suspension_closes_with_its_event_and_opens_when_the_scope_has_converged),
        (closes_on_result, of_documents.test_a_suspension_closes_with_its_event_and_opens_when_the_scope_has_converged),
    ],
    ids=lambda each: each.__name__,
)
def test_each_mutant_of_the_engine_is_caught(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], test: Callable[[], None]
) -> None:
    test()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test()
