"""Does the context projector keep the rule through batches, restarts, sweeps and events that it cannot handle?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from adapters.postgres import high_water
from adapters.postgres.connection import connect
from domain.errors import Conflict
from domain.scope.state import StepCompleted
from domain.scope.steps import Step
from projections.contexts import ContextRules
from tenantry_client.context.document import TenantContext, decode
from tests.context.engine import CATALOG, PRODUCT, RULES, Engine
from workers.context_projector import ContextProjector


@pytest.fixture
def engine(migrated_database: str) -> Iterator[Engine]:
    engine = Engine(migrated_database)
    yield engine
    engine.close()


@pytest.fixture
def projectors(engine: Engine) -> Iterator[list[ContextProjector]]:
    """Those that were made are closed."""
    made: list[ContextProjector] = []
    yield made
    for each in made:
        close(each)


def close(projector: ContextProjector) -> None:
    projector._store.close()  # noqa: SLF001
    projector._reader.close()  # noqa: SLF001
    projector._listener.close()  # type: ignore[attr-defined]  # noqa: SLF001


def advance(engine: Engine) -> int:
    with connect(engine.url, autocommit=True) as connection:
        return high_water.advance(connection)


def run(engine: Engine, projector: ContextProjector) -> None:
    """Until it is as far as the log, and no sweep is under way."""
    for _ in range(1000):
        mark = advance(engine)
        moved = projector.step()
        if not moved and projector.position >= mark and projector._store.standing().swept_after is None:  # noqa: SLF001
            return
    raise AssertionError("it goes on for ever")


def documents(engine: Engine) -> dict[str, TenantContext | None]:
    with psycopg.connect(engine.url, autocommit=True) as connection:
        rows = connection.execute("SELECT tenant_id, document FROM contexts ORDER BY 1").fetchall()
    return {tenant_id: decode(document) if document is not None else None for tenant_id, document in rows}


def hosts(engine: Engine) -> dict[str, str | None]:
    with psycopg.connect(engine.url, autocommit=True) as connection:
        return dict(connection.execute("SELECT host, tenant_id FROM context_hosts").fetchall())


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_the_batches_in_which_facts_come_change_no_document_and_no_version(
    engine: Engine, projectors: list[ContextProjector], fresh_database: object, batch: int
) -> None:
    for number in range(4):
        engine.open(f"t-{number}")
    engine.suspend("t-1")
    projectors.append(engine.projector(batch=batch))
    run(engine, projectors[0])
    found = documents(engine)
    assert {key: each and each.products[PRODUCT].level for key, each in found.items()} == {
        **{f"t-{number}": "open" for number in range(4)},
        "t-1": "closed",
    }
    with psycopg.connect(engine.url, autocommit=True) as connection:
        row = connection.execute("SELECT max(notification_id) FROM stored_events").fetchone()
    assert row is not None
    assert found["t-1"] is not None
    assert found["t-1"].version == row[0], "the version is the position of the event that closed it"
    assert found["t-3"] is not None
    assert found["t-3"].version == row[0] - 1


def test_a_projector_that_was_started_again_goes_on_where_it_was(
    engine: Engine, projectors: list[ContextProjector]
) -> None:
    engine.open("t-1")
    projectors.append(engine.projector())
    run(engine, projectors[0])
    before = documents(engine)
    close(projectors.pop())
    engine.suspend("t-1")
    projectors.append(engine.projector())
    run(engine, projectors[0])
    after = documents(engine)
    assert after["t-1"] is not None
    assert after["t-1"].products[PRODUCT].level == "closed"
    assert after != before


def test_two_projectors_never_write_the_same_batch(engine: Engine, projectors: list[ContextProjector]) -> None:
    projectors += [engine.projector(), engine.projector()]
    engine.open("t-1")
    run(engine, projectors[0])
    assert not projectors[1].step(), "one is at work, the other stands by"
    projectors[1]._store.hold = lambda: True  # type: ignore[method-assign]  # noqa: SLF001 - one that slept past its lock
    standing = projectors[1]._store.standing  # noqa: SLF001
    projectors[1]._store.standing = lambda: standing()._replace(position=0)  # type: ignore[method-assign]  # noqa: SLF001
    with pytest.raises(Conflict, match="another projector is at work"):
        projectors[1].step()


def test_a_host_belongs_to_the_tenant_that_took_it_last(engine: Engine, projectors: list[ContextProjector]) -> None:
    projectors.append(engine.projector(batch=2))
    engine.open("t-1", site_name="acme")
    run(engine, projectors[0])
    assert hosts(engine) == {"acme.tenantry.example": "t-1"}
    engine.open("t-2", site_name="acme")
    engine.record(
        (
            "site:t-1",
            StepCompleted(tenant_id="t-1", kind="site", step=Step.SITE, direction="remove", generation=9, result=None),
        )
    )
    run(engine, projectors[0])
    assert hosts(engine) == {"acme.tenantry.example": "t-2"}, "a late release removes its own tenant's entry only"


def test_an_event_that_cannot_be_handled_halts_its_tenant_alone_until_it_can(
    engine: Engine, projectors: list[ContextProjector]
) -> None:
    engine.open("t-1")
    engine.open("t-2")
    with psycopg.connect(engine.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES ('tenant:t-1', 3, 'tenantry.of-tomorrow', '{\"v\": 1}')"
        )
    engine.suspend("t-2")
    projectors.append(engine.projector())
    run(engine, projectors[0])
    found = documents(engine)
    assert found["t-1"] is not None
    assert found["t-1"].halted is not None
    assert "tenantry.of-tomorrow" in found["t-1"].halted
    assert found["t-2"] is not None
    assert found["t-2"].halted is None
    assert found["t-2"].products[PRODUCT].level == "closed"
    with psycopg.connect(engine.url, autocommit=True) as connection:
        connection.execute("DELETE FROM stored_events WHERE topic = 'tenantry.of-tomorrow'")
    projectors[0]._retry_at = 0.0  # noqa: SLF001 - half a minute later
    run(engine, projectors[0])
    again = documents(engine)["t-1"]
    assert again is not None
    assert again.halted is None


def test_another_address_of_a_shard_reaches_every_document_at_positions_of_their_own(
    engine: Engine, projectors: list[ContextProjector]
) -> None:
    for number in range(3):
        engine.open(f"t-{number}")
    projectors.append(engine.projector())
    run(engine, projectors[0])
    close(projectors.pop())
    before = documents(engine)
    moved = ContextRules(CATALOG, {"eu-1": "10.0.0.7:5432"})
    projectors.append(engine.projector(rules=moved))
    run(engine, projectors[0])
    for tenant_id, document in documents(engine).items():
        was = before[tenant_id]
        assert document is not None
        assert was is not None
        assert {each.address for each in document.placements.values()} == {"10.0.0.7:5432"}
        assert document.version > max(each.version for each in before.values() if each is not None)


def test_a_feature_that_a_catalogue_takes_away_is_gone_from_every_document(
    engine: Engine, projectors: list[ContextProjector]
) -> None:
    engine.open("t-1")
    projectors.append(engine.projector())
    run(engine, projectors[0])
    features = CATALOG.features(PRODUCT, "standard")
    found = documents(engine)["t-1"]
    assert found is not None
    assert found.products[PRODUCT].features == features
    close(projectors.pop())
    editions = {**CATALOG[PRODUCT].editions, "standard": features[:-1]}
    product = CATALOG[PRODUCT].model_copy(update={"editions": editions})
    catalog = CATALOG.model_copy(update={"products": {**CATALOG.products, PRODUCT: product}})
    projectors.append(engine.projector(rules=replace(RULES, catalog=catalog)))
    run(engine, projectors[0])
    found = documents(engine)["t-1"]
    assert found is not None
    assert found.products[PRODUCT].features == features[:-1]
