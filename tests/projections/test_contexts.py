"""Is a tenant's document what the rule says, whatever has happened?

The stories of the saga's model are told, and after each act the document is compared with the rule: the lower of what
the registers of tests/simulation say, which were written from the description, and of the level to which the scopes
last converged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from application.stream_cache import evolve, initial
from domain.event import Recorded
from domain.scope.state import Provisioning, ScopeConverged
from domain.scope.steps import LEVELS
from domain.stream_name import StreamName
from domain.tenant.events import ProductActivated, ProductSuspended
from domain.tenant.state import Tenant
from projections.contexts import HANDLED, ContextRules, TenantStreams, document_of, says_the_same
from tenantry_client.context.document import TenantContext
from tests.domain.given import APP, CATALOG, JIRA, TENANT
from tests.domain.story import PRODUCTS, Story
from tests.domain.test_saga_model import Stories

RULES = ContextRules(CATALOG, {"eu-1": "127.0.0.1:5432"})


def streams_of(facts: Sequence[Recorded]) -> TenantStreams:
    """As the projector folds them: what it does not handle is not read."""
    found = TenantStreams(Tenant(TENANT))
    for fact in facts:
        name = StreamName.parse(fact.stream)
        if type(fact.event) not in HANDLED or not (name.kind == "tenant" or name.is_of_scope):
            continue
        if name.kind == "tenant":
            tenant = evolve(found.tenant, fact)
            assert isinstance(tenant, Tenant)
            found.tenant = tenant
        else:
            actual = initial(fact.stream)
            assert isinstance(actual, Provisioning)
            after = evolve(found.actual.get(actual.scope, actual), fact)
            assert isinstance(after, Provisioning)
            found.actual[after.scope] = after
    return found


def document(facts: Sequence[Recorded]) -> TenantContext | None:
    return document_of(streams_of(facts), RULES, version=1)


def converged(facts: Sequence[Recorded], kind: str, key: str = "") -> str:
    """The level to which the scope last converged; a fold of its own."""
    level = "absent"
    for fact in facts:
        event = fact.event
        if isinstance(event, ScopeConverged) and (event.kind, event.key) == (kind, key):
            level = event.level
    return level


def check(story: Story) -> Counter[str]:
    """The document is the rule, for each product."""
    story._learn()  # noqa: SLF001 - what time has brought about since
    now, facts, registers = story.cloud.clock(), story.cloud.log.events, story.registers
    found = document(facts)
    if found is None:
        assert converged(facts, "site") == "absent"
        return Counter()
    seen, _ = found.seen_at(now.timestamp())
    snapshot = story.cloud.snapshot()
    lived = {key: snapshot.product(key).has_converged for key in PRODUCTS}
    met: Counter[str] = Counter()
    for key in PRODUCTS:
        desired = registers.level(key, now, has_converged=lived, purges="begun")
        actual = converged(facts, "product", key)
        family = converged(facts, "family", CATALOG.family_of(key))
        expected = min((desired, actual, family), key=LEVELS.index)
        host = CATALOG[key].host
        if host is not None and host not in seen.products:
            expected = "absent"
        elif host is not None and expected == "open" and seen.products[host].level != "open":
            expected = "closed"
        level = seen.products[key].level if key in seen.products else "absent"
        assert level == expected, (key, desired, actual, family)
        met[f"{desired} over {actual}"] += 1
        product = seen.products.get(key)
        if product is not None and product.level == "open":
            assert found.placement(key).schema, "what is open has a database"
    is_open = registers.destroyed_at is None and not registers.is_going and converged(facts, "site") == "open"
    assert seen.access == ("open" if is_open else "closed")
    return met


class ContextStories(Stories):
    """Each rule of the model, and the document after it."""

    seen: ClassVar[Counter[str]] = Counter()

    @invariant()
    def the_document_is_the_rule(self) -> None:
        if self._story is not None:
            type(self).seen.update(check(self.story))


def test_a_document_is_the_lower_of_desired_and_actual_whatever_happens() -> None:
    ContextStories.seen.clear()
    run_state_machine_as_test(
        lambda: ContextStories(Counter[Any]()),  # type: ignore[arg-type]
        settings=settings(
            max_examples=40,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    seen = ContextStories.seen
    assert seen["open over open"], seen
    assert seen["closed over open"], "closed on intent was met"
    assert seen["open over closed"] + seen["open over absent"], "opened on result was met"


def test_a_suspension_closes_with_its_event_and_opens_when_the_scope_has_converged() -> None:
    story = Story()
    story.cloud.settle()
    before = document(story.cloud.log.events)
    assert before is not None
    assert before.is_open(JIRA)
    story.says("product.suspended", JIRA)
    assert isinstance(story.cloud.log.events[-1].event, ProductSuspended)
    suspended = document(story.cloud.log.events)
    assert suspended is not None
    assert suspended.products[JIRA].level == "closed"
    story.cloud.settle()
    story.says("product.unsuspended", JIRA)
    again = document(story.cloud.log.events)
    assert again is not None
    assert again.products[JIRA].level == "closed", "it opens when the steps are done"
    story.cloud.settle()
    assert says_the_same(document(story.cloud.log.events), before)


def test_an_app_is_never_more_open_than_its_host() -> None:
    story = Story()
    story.says("product.activated", APP)
    story.cloud.settle()
    found = document(story.cloud.log.events)
    assert found is not None
    assert found.is_open(APP)
    host = CATALOG[APP].host
    assert host is not None
    if host == JIRA:
        story.says("product.suspended", JIRA)
        closed = document(story.cloud.log.events)
        assert closed is not None
        assert closed.products[APP].level == "closed"


def test_a_product_that_was_only_activated_is_not_open() -> None:
    story = Story()
    assert any(isinstance(fact.event, ProductActivated) for fact in story.cloud.log.events)
    found = document(story.cloud.log.events)
    assert found is not None
    assert not found.is_open(JIRA)
    assert found.access == "closed"


def test_a_document_holds_no_password_and_no_person() -> None:
    story = Story()
    story.cloud.settle()
    found = document(story.cloud.log.events)
    assert found is not None
    product = found.products[JIRA]
    assert product.role is not None
    assert set(product.__struct_fields__) == {
        *("level", "family", "edition", "users", "features", "expires_at", "configuration", "role")
    }
