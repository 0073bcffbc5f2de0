"""Do the read models come out of PostgreSQL as the handlers meant them?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event, select, text
from sqlalchemy.dialects.postgresql import insert

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.postgres import migrations
from domain.customer import CustomerUpdated
from domain.event import Event, Recorded
from domain.scope.state import ScopeConverged, ScopeFailed, StepBlocked
from domain.scope.steps import (
    Access,
    ConfigurationResult,
    DatabaseResult,
    IdentityResult,
    LicenseResult,
    Membership,
    MembershipResult,
    MembershipSpec,
    Permission,
    RegionResult,
    Scope,
    SiteResult,
    Step,
    User,
)
from domain.tenant.events import TenantDestroyed
from projections import INTEGRATION, PROJECTIONS
from projections.base import BUCKETS, METADATA, Change, Fold, HandlerFailed, Projection, Row, Set
from projections.customers import CUSTOMERS
from projections.identities import IDENTITIES, USERS
from projections.integration import OUTBOX
from projections.licenses import PROJECTION as LICENSES
from projections.placements import PLACEMENTS
from projections.positions import POSITIONS, Halt, Move, advance, ensure, lock, standing
from projections.provisionings import STEPS
from projections.sites import PROJECTION as SITES_MODEL
from projections.sites import SITES
from projections.writing import apply, copy
from tests.domain.given import made
from tests.projections.given import Model, changes_of, ensured, history, one_by_one, removed, started
from tests.projections.test_base import CHANGES, ENTRIES, TABLES, THINGS, without_empty
from tests.projections.test_sites import CREATED
from tests.real_parts import make_database

SITE, FAMILY = Scope("site", "t1"), Scope("family", "t1", "jira")
JIRA, CONFLUENCE = Scope("product", "t1", "jira-software"), Scope("product", "t1", "confluence")


@pytest.fixture(scope="module")
def migrated(postgres: EmbeddedPostgres) -> Iterator[Engine]:
    """One migrated database for all; every test leaves it as it was."""
    name = f"test_{uuid4().hex}"
    make_database(postgres, name)
    url = postgres.url(name)
    migrations.migrate(url)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    yield engine
    postgres.drop_database(name)


@pytest.fixture
def connection(migrated: Engine) -> Iterator[Connection]:
    with migrated.connect() as connection:
        yield connection


@pytest.fixture
def committing(migrated: Engine) -> Iterator[Engine]:
    """For tests of more than one transaction."""
    yield migrated
    with migrated.begin() as connection:
        connection.execute(text("TRUNCATE projection_positions"))


def stored(connection: Connection, tables: Sequence[Table]) -> Model:
    """All rows, without what PostgreSQL makes of them."""
    model: Model = {}
    for table in tables:
        keys = [column.name for column in table.primary_key]
        generated = {column.name for column in table.columns if column.computed is not None}
        model[table] = {
            tuple(row[name] for name in keys): {
                name: value for name, value in row.items() if name not in {*keys, *generated}
            }
            for row in connection.execute(select(table)).mappings()
        }
    return model


def padded(model: Model) -> Model:
    """The model with null for each column that was never set."""
    return {
        table: {
            key: {
                column.name: row.get(column.name)
                for column in table.columns
                if not column.primary_key and column.computed is None
            }
            for key, row in rows.items()
        }
        for table, rows in model.items()
    }


def project(connection: Connection, projection: Projection, recorded: Sequence[Recorded]) -> None:
    apply(connection, Fold(change for fact in recorded for change in projection.changes_of(fact)))


def given_events(connection: Connection, *events: Event) -> None:
    for projection in (*PROJECTIONS, INTEGRATION):
        project(connection, projection, history(*events))


def all_of(connection: Connection) -> dict[str, list[Row] | dict[str, list[Row]]]:
    return {projection.name: projection.query(connection, "t1") for projection in PROJECTIONS}


def site(access: Access) -> Event:
    facts = SiteResult(site_name="acme", url="https://acme.example.com", access=access)
    return ensured(SITE, Step.SITE, facts)


def member(scope: Scope, access: Access) -> Event:
    return ensured(scope, Step.SITE, MembershipResult(product=scope.key, access=access))


def identities(scope: Scope, *accounts: str) -> Event:
    facts = IdentityResult(
        product=scope.key or None,
        users=tuple(User(account_id=name, name=name.title(), email=f"{name}@example.com") for name in accounts),
        groups=("admins", "users"),
        memberships=tuple(
            Membership(group=group, account_id=name) for name in accounts for group in ("users", "admins")
        ),
        permissions=(
            Permission(group="admins", permission="use"),
            Permission(group="admins", permission="administer"),
            Permission(group="users", permission="use"),
        ),
    )
    return ensured(scope, Step.IDENTITY, facts)


BUILT: tuple[Event, ...] = (
    CREATED,
    CustomerUpdated(customer_id="c1", name="Acme", country="NL", contacts=('{"k":"v"}',), administrators=()),
    site("open"),
    ensured(SITE, Step.CONFIGURATION, ConfigurationResult(product=None, settings={"a": "b"}, organization="Acme")),
    identities(SITE, "ada", "bob"),
    ScopeConverged(tenant_id="t1", kind="site", level="open", digest="d"),
    ensured(FAMILY, Step.REGION, RegionResult(region="eu", shard="eu-1")),
    ensured(
        FAMILY,
        Step.DATABASE,
        DatabaseResult(
            family="jira",
            region="eu",
            shard="eu-1",
            isolation="schema",
            database="shard",
            schema_name="t1_g1",
            roles=(),
        ),
    ),
    started(JIRA, MembershipSpec(product="jira-software", access="open"), Step.SITE),
    member(JIRA, "open"),
    identities(JIRA, "ada"),
    ensured(
        JIRA,
        Step.LICENSE,
        LicenseResult(
            product="jira-software",
            edition="free",
            users=3,
            active=True,
            expires_at=None,
            features=("sandbox",),
            location="there",
        ),
    ),
    ScopeConverged(tenant_id="t1", kind="product", key="jira-software", level="open", digest="d"),
    identities(SITE, "bob", "eve"),
)
"""Every read model has a row after it."""

STORY: tuple[Event, ...] = (
    *BUILT,
    removed(FAMILY, Step.DATABASE),
    removed(JIRA, Step.LICENSE),
    removed(JIRA, Step.IDENTITY),
    removed(JIRA, Step.SITE),
    removed(FAMILY, Step.REGION),
    TenantDestroyed(tenant_id="t1", reason="over"),
)


# -- writing ------------------------------------------------------------------------------------------------


@given(batches=st.lists(CHANGES, max_size=3))
@settings(max_examples=60, deadline=None)
def test_folded_batches_leave_the_rows_that_single_changes_would(migrated: Engine, batches: list[list[Change]]) -> None:
    with migrated.connect() as connection, connection.begin() as transaction:
        TABLES.create_all(connection)
        expected: Model = {}
        for batch in batches:
            apply(connection, Fold(batch))
            one_by_one(batch, expected)
        assert without_empty(stored(connection, TABLES.sorted_tables)) == without_empty(padded(expected))
        transaction.rollback()


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("projection", [*PROJECTIONS, INTEGRATION], ids=lambda projection: projection.name)
def test_a_read_model_is_the_same_in_batches_of_any_size(
    connection: Connection, projection: Projection, size: int
) -> None:
    recorded = history(*STORY)
    for start in range(0, len(recorded), size):
        project(connection, projection, recorded[start : start + size])
    expected = padded(one_by_one(changes_of(projection, recorded)))
    assert without_empty(stored(connection, projection.tables)) == without_empty(expected)


@given(changes=CHANGES)
@settings(max_examples=60, deadline=None)
def test_copied_rows_are_the_rows_that_would_be_upserted(migrated: Engine, changes: list[Change]) -> None:
    with migrated.connect() as connection, connection.begin() as transaction:
        TABLES.create_all(connection)
        fold = Fold(changes)
        expected = padded({table: {key: dict(row) for key, row in rows} for table, rows in fold.tables.items()})
        for table, folded in fold.tables.items():
            copy(connection, table, folded)
        assert without_empty(stored(connection, TABLES.sorted_tables)) == without_empty(expected)
        transaction.rollback()


def test_text_of_any_kind_is_copied_as_it_is(connection: Connection) -> None:
    nasty = "a\tb\nc\\d\\N\"e'ü\u2028{}"
    TABLES.create_all(connection)
    copy(connection, THINGS, [((nasty, "", "\\N"), {"x": None, "y": [nasty, {"k": nasty}, None]})])
    assert stored(connection, [THINGS]) == {THINGS: {(nasty, "", "\\N"): {"x": None, "y": [nasty, {"k": nasty}, None]}}}


def test_thousands_of_rows_cost_a_few_statements(connection: Connection) -> None:
    statements: list[str] = []
    event.listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2]))
    changes: list[Change] = []
    for number in range(5000):
        changes.append(Set(PLACEMENTS, (f"t{number}", "jira"), {"region": "eu", "shard": "eu-1"}))
        changes.append(Set(PLACEMENTS, (f"t{number}", "jira"), {"roles": [{"role": "r"}]}))
        changes.append(Set(PLACEMENTS, (f"t{number}", "confluence"), {"region": "us"}))
    apply(connection, Fold(changes))
    assert len(statements) == 2
    assert connection.execute(text("SELECT count(*), count(shard), count(roles) FROM placements")).one() == (
        10_000,
        5000,
        5000,
    )


def test_what_postgresql_cannot_keep_does_not_stop_a_projection(connection: Connection) -> None:
    nasty = IdentityResult(
        product=None,
        users=(
            User(account_id="a\x00", name="N\x00", email="@\x00"),
            User(account_id="a\ufffd", name="", email=""),
        ),
        groups=("g\x00",),
        memberships=(),
        permissions=(),
    )
    contact = '{"\\u0000":"\\u0000","n":1e999,"s":"\\ud800"}'
    given_events(
        connection,
        CREATED,
        ensured(SITE, Step.IDENTITY, nasty),
        ensured(SITE, Step.CONFIGURATION, ConfigurationResult(product=None, settings={"\x00": "\x00"})),
        CustomerUpdated(customer_id="c1", name="\x00", country="NL", contacts=(contact,), administrators=()),
    )
    assert connection.execute(select(USERS.c.account_id)).scalars().all() == ["a\ufffd"]
    assert connection.execute(select(CUSTOMERS.c.contacts)).scalar_one() == [
        {"\ufffd": "\ufffd", "n": "inf", "s": "\ufffd"}
    ]
    json.dumps(all_of(connection))


def test_an_integration_event_stays_as_it_was_first_written(connection: Connection) -> None:
    recorded = history(member(JIRA, "open"))
    project(connection, INTEGRATION, recorded)
    connection.execute(text("UPDATE outbox SET payload = 'as it was sent'"))
    project(connection, INTEGRATION, recorded)
    assert connection.execute(select(OUTBOX.c.payload)).scalars().all() == ["as it was sent"]
    apply(connection, Fold())  # nothing to write is nothing to say


def test_a_table_that_is_written_once_ignores_what_comes_later(connection: Connection) -> None:
    TABLES.create_all(connection)
    connection.execute(insert(ENTRIES).values(n=1, text="first"))
    apply(connection, Fold([Set(ENTRIES, (1,), {"text": "second"}), Set(ENTRIES, (2,), {"text": "new"})]))
    found = connection.execute(select(ENTRIES.c.text).order_by(ENTRIES.c.n)).scalars().all()
    assert found == ["first", "new"]


def test_the_read_models_can_be_built_in_another_schema(connection: Connection) -> None:
    connection.execute(text("CREATE SCHEMA as_of"))
    there = connection.execution_options(schema_translate_map={None: "as_of"})
    METADATA.create_all(there)
    given_events(there, CREATED, site("open"), identities(SITE, "ada"))
    assert connection.execute(text("SELECT access FROM as_of.sites")).scalars().all() == ["open"]
    assert connection.execute(text("SELECT account_id FROM as_of.identities")).scalars().all() == ["ada"]
    assert connection.execute(text("SELECT count(*) FROM public.sites")).scalar_one() == 0


# -- reading ------------------------------------------------------------------------------------------------


def test_each_read_model_of_a_tenant_can_be_written_as_json(connection: Connection) -> None:
    given_events(connection, *BUILT)
    found = json.loads(json.dumps(all_of(connection)))
    assert {name for name, rows in found.items() if rows} == {projection.name for projection in PROJECTIONS}
    [customer] = found["customers"]
    assert (customer["customer_id"], customer["contacts"]) == ("c1", [{"k": "v"}])
    assert found["sites"][0]["products"] == {"jira-software": "open"}
    assert {name: len(rows) for name, rows in found["identities"].items()} == {
        "users": 3,
        "groups": 4,
        "memberships": 6,
        "permissions": 6,
    }
    assert [(row["kind"], row["key"], row["state"]) for row in found["provisionings"]] == [
        ("site", "", "converged"),
        ("family", "jira", "in_progress"),
        ("product", "jira-software", "converged"),
    ]
    assert [(step["number"], step["name"], step["state"]) for step in found["provisionings"][2]["steps"]] == [
        (2, "site", "done"),
        (5, "identity", "done"),
        (7, "license", "done"),
    ]
    assert [row["type"] for row in INTEGRATION.query(connection, "t1")][-2:] == [  # type: ignore[index]
        "tenantry.product.opened",
        "tenantry.step.completed",
    ]


def test_a_tenant_that_is_not_there_has_nothing(connection: Connection) -> None:
    found = all_of(connection)
    assert found.pop("identities") == {"users": [], "groups": [], "memberships": [], "permissions": []}
    assert all(rows == [] for rows in found.values())


@pytest.mark.parametrize(
    ("access", "events"),
    [
        ("open", [site("open")]),
        ("closed", [site("closed")]),
        ("open", [site("open"), member(JIRA, "open"), member(CONFLUENCE, "open")]),
        ("partial", [site("open"), member(JIRA, "open"), member(CONFLUENCE, "closed")]),
        ("closed", [site("open"), member(JIRA, "closed"), member(CONFLUENCE, "closed")]),
        ("closed", [site("closed"), member(JIRA, "open")]),
        (
            "open",
            [
                site("open"),
                member(JIRA, "open"),
                member(CONFLUENCE, "closed"),
                removed(CONFLUENCE, Step.SITE),
            ],
        ),
        ("closed", [site("open"), removed(SITE, Step.SITE)]),
    ],
)
def test_a_site_is_as_open_as_it_and_its_products_are(connection: Connection, access: str, events: list[Event]) -> None:
    given_events(connection, CREATED, *events)
    assert connection.execute(select(SITES.c.access)).scalars().all() == [access]


def test_a_site_is_shown_once_its_step_2_has_completed(connection: Connection) -> None:
    given_events(connection, CREATED, member(JIRA, "open"))
    assert connection.execute(select(SITES)).all() == []


def test_the_view_of_identities_shows_each_user_with_groups_and_permissions(connection: Connection) -> None:
    given_events(connection, identities(SITE, "ada"), identities(JIRA, "bob"))
    columns = ("product", "account_id", "email", "groups", "permissions")
    found = connection.execute(select(*(IDENTITIES.c[name] for name in columns)).order_by(IDENTITIES.c.product))
    assert found.all() == [
        ("", "ada", "ada@example.com", ["admins", "users"], ["administer", "use"]),
        ("jira-software", "bob", "bob@example.com", ["admins", "users"], ["administer", "use"]),
    ]


def test_the_state_of_a_scope_is_what_its_outcome_and_obstacle_make(connection: Connection) -> None:
    of = {"tenant_id": "t1", "kind": "product", "key": "jira-software"}
    blocked = made(
        StepBlocked, {**of, "step": 2, "direction": "ensure", "generation": 1, "obstacle": "o", "reason": "r"}
    )
    gave_up = made(ScopeFailed, {**of, "digest": "d", "step": 2, "reason": "r"})
    start = started(JIRA, MembershipSpec(product="jira-software", access="open"), Step.SITE)
    states = []
    for story in ([start], [start, blocked], [start, blocked, member(JIRA, "open")], [start, gave_up]):
        given_events(connection, *story)
        states.append(connection.execute(text("SELECT state FROM provisionings")).scalar_one())
    assert states == ["in_progress", "waiting", "in_progress", "failed"]


# -- positions ----------------------------------------------------------------------------------------------


def all_at(connection: Connection, projection: Projection, at: int, to: int) -> set[int]:
    moves = [Move((projection.name, bucket), at, to) for bucket in range(projection.buckets)]
    return {bucket for _, bucket in advance(connection, moves)}


EVERY = set(range(BUCKETS))


def test_a_new_projection_starts_at_the_beginning_and_moves_on(committing: Engine) -> None:
    with committing.begin() as connection:
        ensure(connection, [LICENSES, INTEGRATION])
        assert standing(connection) == {("integration", 0): 0, **{("licenses", bucket): 0 for bucket in EVERY}}
        assert all_at(connection, LICENSES, 0, 17) == EVERY
        ensure(connection, [LICENSES])
    with committing.begin() as connection:
        assert {at for (name, _), at in standing(connection).items() if name == "licenses"} == {17}


def test_a_bucket_is_moved_only_from_where_it_stands(committing: Engine) -> None:
    with committing.begin() as connection:
        ensure(connection, [LICENSES])
        assert advance(connection, [Move(("licenses", 3), 0, 5)]) == {("licenses", 3)}
        assert all_at(connection, LICENSES, 0, 17) == EVERY - {3}
        assert advance(connection, [Move(("licenses", 3), 0, 9), Move(("nobody", 0), 0, 9)]) == set()


def test_one_process_at_a_time_has_a_bucket(committing: Engine) -> None:
    with committing.begin() as connection:
        ensure(connection, [LICENSES])
    with committing.connect() as first, committing.connect() as second:
        assert advance(first, [Move(("licenses", 3), 0, 5)]) == {("licenses", 3)}
        assert all_at(second, LICENSES, 0, 17) == EVERY - {3}
        first.rollback()
        second.rollback()
        assert all_at(second, LICENSES, 0, 17) == EVERY


def test_who_locks_a_projection_holds_all_of_its_buckets(committing: Engine) -> None:
    with committing.begin() as connection:
        ensure(connection, [LICENSES])
    with committing.connect() as first, committing.connect() as second:
        assert lock(first, "licenses") == dict.fromkeys(EVERY, 0)
        assert all_at(second, LICENSES, 0, 17) == set()


def test_changes_and_position_are_lost_together(committing: Engine) -> None:
    with committing.connect() as connection:
        ensure(connection, PROJECTIONS)
        given_events(connection, CREATED, site("open"))
        connection.rollback()
        assert standing(connection) == {}
        assert connection.execute(select(SITES)).all() == []


def failing(recorded: Recorded) -> list[Change]:
    raise KeyError("what the handler did not expect")


def test_a_handler_that_raises_names_the_event() -> None:
    broken = Projection("sites", (), SITES_MODEL.handles, failing, SITES_MODEL.query)
    with pytest.raises(
        HandlerFailed, match=r"event 00000000-0000-0000-0000-000000000001 .TenantCreated. at position 1"
    ) as caught:
        broken.changes_of(history(CREATED)[0])
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_halt_is_noted_since_when_and_taken_away_by_the_next_move(committing: Engine) -> None:
    place, event_id = ("sites", 2), uuid4()

    def note(at: int, to: int, halt: Halt | None) -> tuple[object, ...]:
        with committing.begin() as connection:
            ensure(connection, [SITES_MODEL])
            assert advance(connection, [Move(place, at, to, halt)]) == {place}
            columns = (POSITIONS.c.halted_at, POSITIONS.c.halted_event, POSITIONS.c.halted_reason)
            return tuple(connection.execute(select(*columns).where(POSITIONS.c.bucket == 2)).one())

    since, event_of, reason = note(0, 4, Halt(5, event_id, "it cannot\x00"))
    assert (event_of, reason) == (event_id, "it cannot\ufffd")
    assert note(4, 4, Halt(5, event_id, "it still cannot")) == (since, event_id, "it still cannot")
    assert note(4, 6, Halt(7, None, "another"))[0] != since
    assert note(6, 9, None) == (None, None, None)


def test_a_migrated_table_leaves_the_room_for_updates_that_a_rebuilt_one_does(connection: Connection) -> None:
    tables = [table for projection in PROJECTIONS for table in projection.tables]
    rows = connection.execute(
        text("SELECT relname, reloptions FROM pg_class WHERE relname = ANY (:names) AND relkind = 'r'"),
        {"names": [table.name for table in tables]},
    )
    kept = {name: dict(option.split("=") for option in options or ()) for name, options in rows}
    asked = {table.name: table.dialect_options["postgresql"]["with"] or {} for table in tables}
    assert kept == {name: {key: str(value) for key, value in each.items()} for name, each in asked.items()}
    assert kept["provisionings"] == {"fillfactor": "90"}


def updates_of(connection: Connection, table: str) -> tuple[int, int]:
    """All updates of its rows, and those of them that wrote no index."""
    counts = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = :table")
    updated, hot = connection.execute(counts, {"table": table}).one()
    return updated, hot


def test_an_update_of_a_row_writes_no_index(committing: Engine) -> None:
    keys = [(f"t-{number}", "product", JIRA.key, 2) for number in range(500)]
    with committing.begin() as connection:
        before = updates_of(connection, "provisioning_steps")
        copy(connection, STEPS, [(key, {"state": "started"}) for key in keys])
    for state in ("failed", "completed"):
        with committing.begin() as connection:
            apply(connection, Fold(Set(STEPS, key, {"state": state}) for key in keys[::20]))
            connection.execute(text("SELECT pg_stat_force_next_flush()"))  # counted by the time that it is committed
    with committing.begin() as connection:
        after = updates_of(connection, "provisioning_steps")
        connection.execute(text("TRUNCATE provisioning_steps"))
    assert (after[0] - before[0], after[1] - before[1]) == (50, 50)
