"""Exports through the real limits service: rows from a server-side cursor, counted, and ended where the grant ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.encryption import NoKeys
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.export_budgets import PostgresExportBudgets
from application.export_grants import ExportGrants
from domain import export_grants
from domain.export_grants import ExportGranted
from domain.operator import Operator
from runtime.compose.process import new_id, utc_now
from tenantry_client.access import CoordinatorUnavailable, Export, ExportRefused
from tenantry_client.access.rates import Limit
from tests.access.limits import LIMIT, Running, limits_service
from tests.real_parts import make_database

ADA = Operator.parse("ada@host")
LATER = datetime.now(UTC) + timedelta(days=1)
ROWS = "SELECT n, repeat('x', 92) FROM generate_series(1, 5000) AS n"  # 93 to 96 bytes each


@pytest.fixture(scope="module")
def url(postgres: EmbeddedPostgres, _migrated: str) -> Iterator[str]:
    name = f"exports_{new_id().hex}"
    make_database(postgres, name, _migrated)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def running(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with limits_service(url, tmp_path_factory.mktemp("limits")) as found:
        yield found


@pytest.fixture
def grants(url: str) -> Iterator[ExportGrants]:
    with closing(PostgresEventLog(url, NoKeys())) as log, closing(PostgresExportBudgets(url)) as budgets:
        yield ExportGrants(log=log, budgets=budgets, clock=utc_now, new_id=new_id)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database) as found:
        yield found


def granted(grants: ExportGrants, *, rows: int = 10_000, size: int = 10**7, grantee: str = "shop") -> str:
    grant_id = f"x-{new_id().hex[:12]}"
    event = ExportGranted(
        grant_id=grant_id, grantee=grantee, what="orders", rows=rows, bytes=size, until=LATER,
        operator="ada@host", reason="the customer moves away",
    )  # fmt: skip
    grants.record(partial(export_grants.grant, event=event, now=utc_now()), by=ADA)
    return grant_id


def export(running: Running, grant: str, *, chunk: int = 1_000, what: str = "orders", caller: str = "shop") -> Export:
    return Export(running.client(caller), grant, what, chunk_rows=chunk, chunk_bytes=100_000)


def test_all_rows_come_and_each_is_counted_once(
    running: Running, grants: ExportGrants, connection: psycopg.Connection
) -> None:
    grant = granted(grants)
    rows = list(export(running, grant).rows(connection, ROWS))
    assert [n for n, _ in rows] == list(range(1, 5001))
    spent = grants.budgets.spent(grant)
    assert spent.rows == 5_000
    assert spent.bytes == sum(len(str(n)) + len(text) for n, text in rows)


def test_what_an_export_that_ends_early_did_not_use_goes_back(
    running: Running, grants: ExportGrants, connection: psycopg.Connection
) -> None:
    grant = granted(grants)
    rows = export(running, grant).rows(connection, ROWS)
    assert [next(rows)[0] for _ in range(7)] == [*range(1, 8)]
    rows.close()  # type: ignore[attr-defined]
    assert grants.budgets.spent(grant).rows == 7


@pytest.mark.parametrize("limit", [{"rows": 2_345}, {"size": 200_000}], ids=["rows", "bytes"])
def test_not_a_row_more_than_was_granted_comes_and_the_end_has_a_code(
    running: Running, grants: ExportGrants, connection: psycopg.Connection, limit: dict[str, int]
) -> None:
    seen: list[object] = []
    grant = granted(grants, rows=limit.get("rows", 10_000), size=limit.get("size", 10**7))
    with pytest.raises(ExportRefused) as refused:
        seen.extend(each for each in export(running, grant).rows(connection, ROWS))
    assert refused.value.code == "export-budget-used-up"
    spent = grants.budgets.spent(grant)
    assert spent.rows <= limit.get("rows", 10_000)
    assert spent.bytes <= limit.get("size", 10**7)
    assert spent.rows in {2_345, *range(2_050, 2_200)}


def test_two_exports_share_the_budget_of_a_grant(
    running: Running, grants: ExportGrants, connection: psycopg.Connection
) -> None:
    grant = granted(grants, rows=6_000)
    assert len(list(export(running, grant).rows(connection, ROWS))) == 5_000
    seen: list[object] = []
    with pytest.raises(ExportRefused):
        seen.extend(each for each in export(running, grant).rows(connection, ROWS))
    assert len(seen) == 1_000


def test_a_grant_that_is_unknown_of_another_service_or_for_other_data_gives_no_row(
    running: Running, grants: ExportGrants, connection: psycopg.Connection
) -> None:
    cases = {
        "export-grant-unknown": export(running, "x-none"),
        "export-grant-for-other-data": export(running, granted(grants), what="users"),
    }
    for code, asked in cases.items():
        with pytest.raises(ExportRefused) as refused:
            next(asked.rows(connection, ROWS))
        assert refused.value.code == code
    with pytest.raises(ExportRefused) as refused:
        next(export(running, granted(grants), caller="other").rows(connection, ROWS))
    assert refused.value.code == "export-grant-unknown", "another service's grant looks like none"


def test_a_revoked_grant_ends_an_export_at_the_next_chunk(
    running: Running, grants: ExportGrants, connection: psycopg.Connection
) -> None:
    grant = granted(grants)
    rows = export(running, grant).rows(connection, ROWS)
    seen = [next(rows)]
    grants.record(partial(export_grants.revoke, grant_id=grant, operator="bo@host", reason="a mistake"), by=ADA)
    with pytest.raises(ExportRefused) as refused:
        seen.extend(rows)
    assert (refused.value.code, len(seen)) == ("export-grant-revoked", 1_000)


def test_without_the_limits_service_no_row_comes(connection: psycopg.Connection, running: Running) -> None:
    client = running.client()
    client._port = 1  # noqa: SLF001 - nobody listens there
    with pytest.raises(CoordinatorUnavailable):
        next(Export(client, "x-1", "orders").rows(connection, ROWS))


def test_a_service_gets_chunks_of_the_limits_of_its_own_routes_alone(running: Running) -> None:
    assert running.client().admit(LIMIT, 5).requests == 5
    forged = Limit("reads", per_second=10**6, burst=10**6)
    assert running.client().admit(forged, 10**6).requests <= LIMIT.burst, "the rate is that of the allow-list"
    for caller, limit in (("other", LIMIT), ("shop", Limit("none", 1, 1))):
        with pytest.raises(CoordinatorUnavailable, match="404"):
            running.client(caller).admit(limit, 1)


def test_what_is_no_amount_is_refused(running: Running) -> None:
    with pytest.raises(CoordinatorUnavailable, match="400"):
        running.client().take("x-1", what="orders", tenant_id=None, rows=0, size=1)
