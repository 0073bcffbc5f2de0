"""Do two parts that know nothing of each other take the same advisory lock?"""

from adapters.postgres.high_water import AGENT_LOCK, APPEND_LOCK
from adapters.postgres.outbox import RELAY_LOCK
from adapters.postgres.seal_store import SEAL_LOCK
from adapters.postgres.sweeps import SWEEP_LOCK


def test_no_two_parts_share_an_advisory_lock() -> None:
    locks = [AGENT_LOCK, APPEND_LOCK, RELAY_LOCK, SEAL_LOCK, SWEEP_LOCK]
    assert len(set(locks)) == len(locks)
