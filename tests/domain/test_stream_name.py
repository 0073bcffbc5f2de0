"""Is each name read as it was written, and nothing else read as a name?"""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.stream_name import (
    EntitlementName,
    ObstacleKind,
    ObstacleName,
    ResourceName,
    ScopeId,
    SiteReservation,
    StreamKind,
    StreamName,
)

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
keys = st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True)
scopes = st.one_of(
    st.builds(ScopeId, st.just("site"), ids, st.just("")),
    st.builds(ScopeId, st.sampled_from(["family", "product"]), ids, keys),
)
names = st.one_of(
    scopes,
    st.builds(StreamName, st.sampled_from(get_args(StreamKind)), ids),
    st.builds(ObstacleName, st.sampled_from(get_args(ObstacleKind)), keys),
    st.builds(ResourceName.of, st.sampled_from("tg"), scopes, st.integers(0, 10**9)),
    st.builds(SiteReservation, keys, ids),
    st.builds(EntitlementName, keys, keys),
)


@given(names)
def test_a_name_is_read_as_it_was_written(
    name: ScopeId | StreamName | ObstacleName | ResourceName | SiteReservation | EntitlementName,
) -> None:
    assert type(name).parse(str(name)) == name


@given(scopes)
def test_the_stream_of_a_scope_is_its_tenants(scope: ScopeId) -> None:
    stream = StreamName.parse(str(scope))
    assert (stream.kind, stream.tenant_id, stream.is_of_scope) == (scope.kind, scope.tenant_id, True)


@pytest.mark.parametrize(
    ("text", "tenant_id"),
    [("tenant:t-1", "t-1"), ("operator:t-1", "t-1"), ("operator:", None), ("customer:c-1", None), ("orphans:p", None)],
)
def test_a_stream_names_its_tenant_where_it_has_one(text: str, tenant_id: str | None) -> None:
    assert StreamName.parse(text).tenant_id == tenant_id
    assert not StreamName.parse(text).is_of_scope


@pytest.mark.parametrize("name", [ScopeId, StreamName, ObstacleName, ResourceName])
@pytest.mark.parametrize("text", ["", "t-1", "nonsense:t-1", "t_0_g1", ":"])
def test_what_is_no_name_is_not_read(name: type[StreamName], text: str) -> None:
    with pytest.raises(ValueError, match="names no"):
        name.parse(text)


def test_what_is_stored_keeps_its_form() -> None:
    assert str(ObstacleName("capacity", "eu")) == "room:eu"
    assert str(ObstacleName("site name", "acme")) == "site-name:acme"
    family = ScopeId("family", "t-1", "jira")
    assert str(ResourceName.of("t", family, 7)) == "t_b02b3f289724fa87f404_g7"
    assert str(ResourceName.of("r", family, 7, product="jira-software")) == "r_8ae00d99cfce44a434fb_g7"


def test_an_outage_names_the_part_that_does_not_answer() -> None:
    assert ObstacleName.outage(str(ObstacleName("unreachable", "shard eu-1"))) == "shard eu-1"
    assert ObstacleName.outage("room:eu") is None
    assert ObstacleName.outage(None) is None
