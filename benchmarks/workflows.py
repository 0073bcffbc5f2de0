"""DBOS workflow: the peer of the saga benchmark.

A workflow of seven steps that do nothing. DBOS records the beginning of the workflow, the outcome of each step and the
end of the workflow, each before it goes on: what a crash leaves is taken up again. It makes its own tables, in a
database of its own on the same server. Run one after the other, and as many at once as it likes; the better one counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from importlib.util import find_spec
from typing import Any, Final

from domain.errors import UsageError

STEPS: Final = 7


def is_here() -> None:
    """UsageError where DBOS is not installed."""
    if find_spec("dbos") is None:
        raise UsageError("the bench saga measures against DBOS, which is not installed: pip install --group bench")


def provision(url: str, one_by_one: int, at_once: int) -> Generator[None, None, tuple[float, float]]:
    """Workflows a second: one after the other, and started at once."""
    from dbos import DBOS  # noqa: PLC0415 - in the group `bench` only

    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    workflow = _workflow(DBOS)
    DBOS.launch()
    workflow(0)
    yield
    start = time.monotonic()
    for number in range(one_by_one):
        workflow(number)
    sequential = one_by_one / (time.monotonic() - start)
    start = time.monotonic()
    for handle in [DBOS.start_workflow(workflow, number) for number in range(at_once)]:
        handle.get_result()
    started = at_once / (time.monotonic() - start)
    DBOS.destroy()
    return sequential, started


def _workflow(dbos: Any) -> Callable[[int], Any]:
    def step(number: int, tenant: int) -> dict[str, int]:
        return {"step": number, "tenant": tenant}

    durable = dbos.step()(step)

    def seven_steps(tenant: int) -> Any:
        result = None
        for number in range(STEPS):
            result = durable(number, tenant)
        return result

    found: Callable[[int], Any] = dbos.workflow()(seven_steps)
    return found
