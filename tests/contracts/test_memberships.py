"""Memberships: what the edge asks of the read model, in memory and in PostgreSQL; and a read model that is behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from access.edge.members import Memberships
from adapters.postgres.memberships import PostgresMemberships
from domain.errors import Unavailable
from tests.fakes.memberships import FakeMemberships

TENANT, PRODUCT, ACCOUNT = "t-1", "jira-software", "ada"
BUCKETS = 16


@dataclass
class Model:
    """The port, and how a test says who is a member of what."""

    port: Memberships
    join: Callable[[str, str, str], None]
    leave: Callable[[str, str, str], None]


@pytest.fixture
def url(migrated_database: str) -> str:
    with psycopg.connect(migrated_database) as connection:
        connection.execute(
            "INSERT INTO projection_positions (name, bucket) SELECT 'identities', generate_series(0, %s)"
            " ON CONFLICT DO NOTHING",
            (BUCKETS - 1,),
        )
    return migrated_database


@pytest.fixture(params=["fake", "postgres"])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    if request.param == "fake":
        fake = FakeMemberships()
        yield Model(fake, lambda *each: fake.members.add(each), lambda *each: fake.members.discard(each))
        return
    found: str = request.getfixturevalue("url")
    port = PostgresMemberships(found)
    yield Model(port, lambda *each: join(found, *each), lambda *each: leave(found, *each))
    port.close()


def execute(url: str, statement: str, *values: Any) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode(), values)


def join(url: str, tenant_id: str, product: str, account_id: str) -> None:
    execute(url, "INSERT INTO identity_memberships VALUES (%s, %s, 'users', %s)", tenant_id, product, account_id)
    execute(url, "INSERT INTO identity_permissions VALUES (%s, %s, 'users', 'use-product')", tenant_id, product)


def leave(url: str, tenant_id: str, product: str, account_id: str) -> None:
    execute(
        url,
        "DELETE FROM identity_memberships WHERE tenant_id = %s AND product = %s AND account_id = %s",
        *(tenant_id, product, account_id),
    )


def test_a_member_of_a_product_is_one_and_nobody_else(model: Model) -> None:
    model.join(TENANT, PRODUCT, ACCOUNT)
    assert model.port.is_member(TENANT, PRODUCT, ACCOUNT)
    for other in (("t-2", PRODUCT, ACCOUNT), (TENANT, "confluence", ACCOUNT), (TENANT, PRODUCT, "eve")):
        assert not model.port.is_member(*other)


def test_somebody_who_left_is_no_member(model: Model) -> None:
    model.join(TENANT, PRODUCT, ACCOUNT)
    model.leave(TENANT, PRODUCT, ACCOUNT)
    assert not model.port.is_member(TENANT, PRODUCT, ACCOUNT)


def test_text_of_any_kind_is_only_text(model: Model) -> None:
    for text in ("'; DROP TABLE identity_users; --", "%s", "%(tenant)s", "ä\u202e", ""):
        assert not model.port.is_member(text, text, text)


@pytest.fixture
def asked(url: str) -> Iterator[PostgresMemberships]:
    with closing(PostgresMemberships(url, wait=0.05)) as port:
        yield port


def test_a_member_of_a_group_without_a_permission_in_force_is_none(url: str, asked: PostgresMemberships) -> None:
    join(url, TENANT, PRODUCT, ACCOUNT)
    execute(url, "DELETE FROM identity_permissions")
    assert not asked.is_member(TENANT, PRODUCT, ACCOUNT)


def test_a_read_model_that_is_behind_the_log_is_no_answer(url: str, asked: PostgresMemberships) -> None:
    join(url, TENANT, PRODUCT, ACCOUNT)
    assert asked.is_member(TENANT, PRODUCT, ACCOUNT)
    execute(
        url, "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES ('a:b', 1, 't', '')"
    )
    with pytest.raises(Unavailable, match="behind the log"):
        asked.is_member(TENANT, PRODUCT, ACCOUNT)
    execute(url, "UPDATE projection_positions SET position = 1 WHERE name = 'identities'")
    assert asked.is_member(TENANT, PRODUCT, ACCOUNT)


def test_only_the_bucket_of_the_tenant_has_to_be_up_to_date(url: str, asked: PostgresMemberships) -> None:
    join(url, TENANT, PRODUCT, ACCOUNT)
    execute(
        url, "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES ('a:b', 1, 't', '')"
    )
    execute(
        url,
        "UPDATE projection_positions SET position = 1 WHERE name = 'identities'"
        f" AND bucket = (hashtextextended('{TENANT}', 0) & {BUCKETS - 1})",
    )
    assert asked.is_member(TENANT, PRODUCT, ACCOUNT)
    others = [f"t-{number}" for number in range(2, 40)]
    behind = 0
    for other in others:
        try:
            asked.is_member(other, PRODUCT, ACCOUNT)
        except Unavailable:
            behind += 1
    assert behind > len(others) / 2


def test_a_database_without_the_projection_and_one_that_is_away_are_no_answer(
    url: str, asked: PostgresMemberships
) -> None:
    execute(url, "DELETE FROM projection_positions")
    with pytest.raises(Unavailable, match="behind"):
        asked.is_member(TENANT, PRODUCT, ACCOUNT)
    with pytest.raises(Unavailable):
        PostgresMemberships("postgresql://nobody@127.0.0.1:1/none", wait=0.05).is_member(TENANT, PRODUCT, ACCOUNT)
