"""Does every fact come back from its bytes, and do the bytes of today stay readable?

tests/histories/ holds the stored form of one example of each event, sealed by a fake that always seals alike. A file
there is never changed: an event that gets another shape gets an upcast and a second file.
`python -m tests.adapters.postgres.test_event_mapper` writes the files that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.persistence import StoredEvent
from msgspec.structs import asdict

from adapters.postgres.event_mapper import EventMapper
from domain.catalog import Catalog
from domain.configuration import AdoptedShard, ConfigurationAdopted, ShardMap
from domain.customer import CustomerAdministrator, CustomerMessageStale, CustomerUpdated
from domain.errors import TenantryError, UnreadableEvent
from domain.event import Cause, Event, Recorded
from domain.event_registry import REGISTRY
from domain.export_grants import ExportGranted, ExportGrantRevoked
from domain.in_force import InForce
from domain.operator_events import (
    IntakePositionMoved,
    KeptOrphan,
    MessageDiscarded,
    MessageRetried,
    MessagesReread,
    OrphansMarkedForRemoval,
    OrphansRemoved,
    PersonalDataShown,
    PreviousReadModelsDropped,
    ReadModelsRebuilt,
    RemovalCandidate,
)
from domain.personal import FORGOTTEN
from domain.policy import Policy, Retry
from domain.scope.state import (
    DataAbandoned,
    EnsureRequested,
    ScopeConverged,
    ScopeFailed,
    ScopePutOnHold,
    ScopeResumed,
    StepBlocked,
    StepCompleted,
    StepFailed,
    StepMissing,
    StepStarted,
)
from domain.scope.steps import (
    CommerceResult,
    CommerceSpec,
    ConfigurationResult,
    ConfigurationSpec,
    DatabaseResult,
    DatabaseSpec,
    IdentityResult,
    IdentitySpec,
    LicenseResult,
    LicenseSpec,
    Membership,
    MembershipResult,
    MembershipSpec,
    Permission,
    RegionResult,
    RegionSpec,
    RoleResult,
    RoleSpec,
    SiteResult,
    SiteSpec,
    Step,
    StepResult,
    StepSpec,
    User,
)
from domain.service_keys import ServiceKeyPublished, ServiceKeyRevoked
from domain.stored_form import to_json
from domain.tenant.events import (
    ApprovalRequested,
    ChangesApproved,
    ChangesRejected,
    ClosingAwaitsApproval,
    Founder,
    LicenseExpired,
    LicenseUpdated,
    ProductActivated,
    ProductDeactivated,
    ProductSuspended,
    ProductUnsuspended,
    PurgeStarted,
    TenantCreated,
    TenantDestroyed,
    TenantMessageStale,
    TenantPurged,
    TenantPurgeStarted,
    TenantRestored,
)
from tests.fakes.sealing import InMemorySealingKeys

HISTORIES = Path(__file__).parents[2] / "histories"
WHEN = datetime(2026, 6, 1, 12, 30, 0, 250_000, tzinfo=UTC)
PERSONS = ("Ada Lovelace", "ada@example.com", "+49 30 123", "Zoë", "zoe@example.com", "Acme")

ADMINISTRATOR = CustomerAdministrator(
    account_id="ada", name="Ada Lovelace", email="ada@example.com", roles=("billing",)
)
TENANT: dict[str, Any] = {"tenant_id": "t-1"}
PRODUCT: dict[str, Any] = {**TENANT, "product": "confluence", "revision": 7}
SCOPE: dict[str, Any] = {**TENANT, "kind": "product", "key": "confluence"}
STEP: dict[str, Any] = {**SCOPE, "step": Step.LICENSE, "direction": "ensure", "generation": 4}
LICENSE = LicenseSpec(product="confluence", edition="free", users=10, active=True, expires_at=WHEN, features=("pages",))
USERS = (
    User(account_id="ada", name="Ada Lovelace", email="ada@example.com", roles=("billing",)),
    User(account_id="zoe", name="Zoë", email="zoe@example.com"),
)

WISHES: tuple[StepSpec, ...] = (
    CommerceSpec(customer_id="c-1", metadata_version=1, administrators_version=2),
    SiteSpec(site_name="acme", access="open"),
    MembershipSpec(product="confluence", access="closed"),
    RegionSpec(residency="pinned", region="eu"),
    ConfigurationSpec(product=None, residency="global", region=None, metadata_version=3),
    IdentitySpec(product="confluence", groups=("confluence-users",), administrators_version=2, in_force=True),
    DatabaseSpec(family="jira", roles=(RoleSpec(product="jira-software", login=True),)),
    LICENSE,
)
FACTS: tuple[StepResult, ...] = (
    CommerceResult(customer_id="c-1", known=True, name="Acme", country="DE", administrators=("ada",)),
    CommerceResult(customer_id="c-1", known=False),
    SiteResult(site_name="acme", url="https://acme.example", access="open"),
    MembershipResult(product="confluence", access="open"),
    RegionResult(region="eu", shard="eu-1"),
    ConfigurationResult(product=None, settings={"residency": "global"}, organization="Acme"),
    IdentityResult(
        product="confluence",
        users=USERS,
        groups=("confluence-users",),
        memberships=(Membership(group="confluence-users", account_id="ada"),),
        permissions=(Permission(group="confluence-users", permission="use"),),
    ),
    DatabaseResult(
        family="jira",
        region="eu",
        shard="eu-1",
        isolation="schema",
        database="eu_1",
        schema_name="t_1_jira_2",
        roles=(RoleResult(product="jira-software", role="t_1_jira_software_2", generation=2, login=True),),
    ),
    LicenseResult(**asdict(LICENSE), location="t_1_jira_2.entitlement"),
)

ORPHAN = RemovalCandidate(where="eu-1", kind="schema", name="t_1")
MESSAGE: dict[str, Any] = {
    "tenant_id": "t-1",
    "number": 7,
    "rule": "unknown-product",
    "topic": "tenantry.lifecycle",
    "partition": 3,
    "offset": 9,
}
PLACE: dict[str, Any] = {"topic": "tenantry.lifecycle", "topic_id": "5f0c", "partition": 3}

BILLING = {"name": "Billing", "family": "billing", "editions": {"basic": ["invoices"]}}
WEBHOOK = {"webhook": "https://billing.example/orders", "secret": "billing"}

EXAMPLES: dict[str, Event] = {
    "configuration-adopted": ConfigurationAdopted(
        catalog=Catalog.model_validate(
            {
                "products": {"billing": {**BILLING, "groups": ["guests"], "executors": {"7": WEBHOOK}}},
                "retired": {"ledger": {"name": "Ledger", "host": "billing", "editions": {"basic": []}}},
            }
        ),
        policy=Policy(
            retention=timedelta(days=60),
            restore_window=timedelta(days=14),
            waiting_limit=1000,
            retry=Retry(
                attempts=8,
                first_delay=timedelta(seconds=1),
                factor=2.0,
                longest_delay=timedelta(minutes=5),
                jitter=0.2,
                obstacle_poll=timedelta(minutes=1),
                step_timeout=timedelta(seconds=30),
            ),
        ),
        topology=ShardMap(
            shards=(AdoptedShard(name="eu-1", region="eu", capacity=10, address="db.example:5432/shard"),),
            default_region="eu",
            left=(AdoptedShard(name="us-1", region="us", capacity=10, state="draining"),),
        ),
        reason="the first start",
        operator="Ada (ada@host)",
    ),
    "message-discarded": MessageDiscarded(**MESSAGE, operator="Ada (ada@host)", reason="noise"),
    "message-retried": MessageRetried(**MESSAGE, operator="Ada (ada@host)"),
    "read-models-rebuilt": ReadModelsRebuilt(
        read_models=("sites", "licenses"), position=42, operator="Ada (ada@host)", reason="new columns"
    ),
    "intake-position-moved": IntakePositionMoved(
        **PLACE, before=3, offset=9, operator="Ada (ada@host)", reason="retention took them"
    ),
    "messages-reread": MessagesReread(**PLACE, offsets=(4, 5), operator="Ada (ada@host)", reason="a restored backup"),
    "personal-data-shown": PersonalDataShown(
        tenant_id="t-1", what="persons", operator="Ada (ada@host)", reason="they are on the phone"
    ),
    "previous-read-models-dropped": PreviousReadModelsDropped(read_models=("sites",), operator="Ada (ada@host)"),
    "customer-updated": CustomerUpdated(
        customer_id="c-1",
        name="Acme",
        country="DE",
        contacts=('"+49 30 123"', '{"name":"Zoë"}'),
        administrators=(ADMINISTRATOR,),
        revision=3,
    ),
    "customer-message-stale": CustomerMessageStale(
        customer_id="c-1", type="commerce.customer.updated", revision=2
    ),
    "tenant-created": TenantCreated(
        tenant_id="t-1",
        customer_id="c-1",
        site_name="acme",
        residency="pinned",
        region="eu",
        administrator=Founder(account_id="ada", name="Ada Lovelace", email="ada@example.com"),
        revision=1,
    ),
    "tenant-destroyed": TenantDestroyed(**TENANT, reason="left", revision=2),
    "product-activated": ProductActivated(
        **PRODUCT, edition="free", users=10, expires_at=WHEN, residency="pinned", region="eu"
    ),
    "product-deactivated": ProductDeactivated(**PRODUCT, reason="cancelled"),
    "product-suspended": ProductSuspended(**PRODUCT, reason="unpaid"),
    "product-unsuspended": ProductUnsuspended(**PRODUCT),
    "license-updated": LicenseUpdated(**PRODUCT, edition="free", users=10, status="inactive", expires_at=WHEN),
    "tenant-message-stale": TenantMessageStale(**PRODUCT, type="product.suspended"),
    "tenant-restored": TenantRestored(
        **TENANT, reason="called the wrong one", operator="ada@host", undoes="/commerce 17"
    ),
    "tenant-purge-started": TenantPurgeStarted(**TENANT, epoch=7),
    "tenant-purged": TenantPurged(**TENANT),
    "license-expired": LicenseExpired(**TENANT, product="confluence", epoch=4),
    "change-held": ApprovalRequested(
        **TENANT, change="deactivate", product="confluence", reason="cancelled", revision=7
    ),
    "closing-held-suspend": ClosingAwaitsApproval(**PRODUCT, change="suspend", reason="a fault"),
    "closing-held-license": ClosingAwaitsApproval(
        **PRODUCT, change="license", edition="standard", users=10, status="inactive", expires_at=WHEN
    ),
    "closing-held-activate": ClosingAwaitsApproval(
        **PRODUCT, change="activate", edition="standard", users=10, expires_at=WHEN, residency="pinned", region="eu"
    ),
    "changes-approved": ChangesApproved(
        **TENANT, changes=(4, 5), plan="3f2a", reason="they left", operator="ada@host"
    ),
    "changes-rejected": ChangesRejected(
        **TENANT, changes=(4,), plan="3f2a", reason="a script went wild", operator="ada@host"
    ),
    "purge-started": PurgeStarted(
        **TENANT, product="confluence", epoch=6, apps=("team-calendars",), families=("confluence",)
    ),
    **{
        f"step-started-{spec.kind}": StepStarted(**STEP | {"step": step}, spec=spec, compensating=False)
        for step, spec in zip((1, 2, 2, 3, 4, 5, 6, 7), WISHES, strict=True)
    },
    **{
        f"step-completed-{facts.kind}-{number}": StepCompleted(
            **STEP | {"step": step}, customer_id="c-1", result=facts
        )
        for number, (step, facts) in enumerate(zip((1, 1, 2, 2, 3, 4, 5, 6, 7), FACTS, strict=True))
    },
    "step-completed-removal": StepCompleted(**STEP | {"direction": "remove"}),
    "step-failed": StepFailed(**STEP, attempt=2, reason="the disk is on fire", retry_at=WHEN),
    "step-blocked": StepBlocked(**STEP, obstacle="room:eu", reason="every shard of eu is full"),
    "step-missing": StepMissing(**SCOPE, step=Step.LICENSE, observed_version=5, reason="the entitlement is not there"),
    "scope-converged": ScopeConverged(**SCOPE, level="open", digest="d1"),
    "scope-converged-purged": ScopeConverged(**SCOPE, level="absent", digest="d2", purge=9),
    "scope-converged-anew": ScopeConverged(**SCOPE, level="open", digest="d1", data_lost=True),
    "scope-gave-up": ScopeFailed(**SCOPE, digest="d1", step=Step.LICENSE, reason="no"),
    "scope-held": ScopePutOnHold(**SCOPE, step=Step.LICENSE, reason="look"),
    "scope-held-until": ScopePutOnHold(**SCOPE, reason="their move", until=WHEN),
    "scope-resumed": ScopeResumed(**SCOPE, reason="another wish came"),
    "ensure-requested": EnsureRequested(**SCOPE, reason="its password was changed by hand"),
    "data-abandoned": DataAbandoned(
        **SCOPE | {"kind": "family", "key": "jira"},
        products=("jira-software",),
        reason="no backup",
        operator="ada@host",
    ),
    "in-force": InForce(up_to=4711, lease_seconds=30.0, waited_seconds=31.302),
    "export-granted": ExportGranted(
        grant_id="x-0011223344aa",
        grantee="reporting",
        what="jira-issues",
        tenant_id="t-1",
        rows=1_000_000,
        bytes=2_000_000_000,
        until=WHEN,
        operator="ada@host",
        reason="the customer moves away",
    ),
    "export-granted-of-all": ExportGranted(
        grant_id="x-0011223344ab",
        grantee="ada@host",
        what="audit-log",
        rows=1_000,
        bytes=1_000_000,
        until=WHEN,
        operator="ada@host",
        reason="the yearly audit",
    ),
    "export-grant-revoked": ExportGrantRevoked(
        grant_id="x-0011223344aa", operator="ada@host", reason="the customer stays"
    ),
    "service-key-published": ServiceKeyPublished(
        key_id="billing/2027-01",
        public_key="-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n",
        operator="ada@host",
        reason="its first",
    ),
    "service-key-revoked": ServiceKeyRevoked(
        key_id="billing/2027-01", operator="ada@host", reason="a laptop was stolen"
    ),
    "orphans-condemned": OrphansMarkedForRemoval(
        plan="3f2a", things=(ORPHAN,), reason="left by a restore", operator="ada@host"
    ),
    "orphans-removed": OrphansRemoved(
        plan="3f2a",
        removed=(ORPHAN,),
        left=(KeptOrphan(where="eu-1", kind="role", name="r_1", why="it owns 1 objects"),),
        reason="left by a restore",
        operator="ada@host",
    ),
}  # fmt: skip


class GoldenKeys:
    """SealingKeys that hide nothing from a test and seal alike for ever."""

    def __init__(self) -> None:
        self.forgotten: set[str] = set()

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:
        return f"v1.{subject}.{bound_to}.{plain.hex()}"

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:
        _, subject, place, plain = encrypted.split(".")
        if place != bound_to:
            raise TenantryError(f"{bound_to} was changed or moved since it was sealed")
        return None if subject in self.forgotten else bytes.fromhex(plain)

    def forget(self, subject: str) -> None:
        self.forgotten.add(subject)

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None:
        """Nothing to fetch."""


def fact(event: Event) -> Recorded:
    cause = Cause(
        kind="message", source="/commerce", id="17", time=WHEN, topic="tenantry.lifecycle", partition=3, offset=9
    )
    return Recorded("stream:x", 5, UUID(int=42), WHEN, cause, "/commerce 17", event)


MAPPER = EventMapper(GoldenKeys())


def stored(event: Event, keys: Any = None) -> StoredEvent:
    return EventMapper(keys or GoldenKeys()).to_stored_event(fact(event))


def read(event: StoredEvent, keys: Any = None) -> Recorded:
    return EventMapper(keys or GoldenKeys()).to_domain_event(event)


def changed(event: StoredEvent, **state: Any) -> StoredEvent:
    """The stored event with other values at the top of its state."""
    said = json.loads(event.state) | state
    return StoredEvent(event.originator_id, event.originator_version, event.topic, json.dumps(said).encode())


def golden(event: StoredEvent) -> str:
    said = {
        "stream": event.originator_id,
        "version": event.originator_version,
        "topic": event.topic,
        "state": json.loads(event.state),
    }
    return json.dumps(said, indent=2, ensure_ascii=False) + "\n"


def test_there_is_an_example_of_every_event() -> None:
    assert {type(event) for event in EXAMPLES.values()} == REGISTRY.events


def test_every_golden_file_belongs_to_an_example() -> None:
    assert {path.stem for path in HISTORIES.glob("*.json")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_fact_comes_back_from_its_bytes(name: str) -> None:
    assert read(stored(EXAMPLES[name])) == fact(EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_was_written_then_is_read_now(name: str) -> None:
    said = json.loads((HISTORIES / f"{name}.json").read_text())
    then = StoredEvent(said["stream"], said["version"], said["topic"], json.dumps(said["state"]).encode())
    assert read(then) == fact(EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_written_now_is_what_was_written_then(name: str) -> None:
    assert golden(stored(EXAMPLES[name])) == (HISTORIES / f"{name}.json").read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_person_stands_in_the_bytes(name: str) -> None:
    state = stored(EXAMPLES[name], InMemorySealingKeys()).state.decode()
    for person in PERSONS:
        assert person not in state
        assert json.dumps(person)[1:-1] not in state


def persons_of(name: str) -> int:
    """How many personal fields the example fills."""
    keys = InMemorySealingKeys()
    stored(EXAMPLES[name], keys)
    return keys.seals


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("customer-updated", 5),
        ("tenant-created", 2),
        ("step-completed-commerce-0", 1),
        ("step-completed-commerce-1", 0),
        ("step-completed-configuration-5", 1),
        ("step-completed-identity-6", 4),
        ("step-completed-license-8", 0),
        ("step-completed-removal", 0),
    ],
)
def test_each_personal_field_is_sealed_on_its_own(name: str, count: int) -> None:
    assert persons_of(name) == count


@pytest.mark.parametrize("name", [name for name in EXAMPLES if persons_of(name)])
def test_of_a_forgotten_person_nothing_but_the_mark_is_read(name: str) -> None:
    keys = GoldenKeys()
    event = stored(EXAMPLES[name], keys)
    keys.forget("customer:c-1")
    body = to_json(read(event, keys).event).decode()
    assert FORGOTTEN in body
    for person in PERSONS:
        assert person not in body


def test_two_sealed_fields_that_were_swapped_are_refused() -> None:
    keys = InMemorySealingKeys()
    event = stored(EXAMPLES["tenant-created"], keys)
    data = json.loads(event.state)["data"]
    person = data["administrator"]
    person["name"], person["email"] = person["email"], person["name"]
    with pytest.raises(TenantryError, match="changed or moved"):
        read(changed(event, data=data), keys)


@pytest.mark.parametrize("place", [("stream:y", 5), ("stream:x", 6)])
def test_an_event_that_was_moved_to_another_stream_or_version_is_refused(place: tuple[str, int]) -> None:
    keys = InMemorySealingKeys()
    event = stored(EXAMPLES["tenant-created"], keys)
    with pytest.raises(TenantryError, match="changed or moved"):
        read(StoredEvent(*place, event.topic, event.state), keys)


def test_an_unknown_topic_names_the_event_and_the_remedy() -> None:
    event = stored(EXAMPLES["scope-held"])
    other = StoredEvent("stream:x", 5, "tenantry.unheard-of", event.state)
    with pytest.raises(UnreadableEvent, match=r"event 5 of stream:x .*tenantry\.unheard-of.*version that wrote it"):
        read(other)


@pytest.mark.parametrize("extra", [{}, {"colour": "red"}])
@pytest.mark.parametrize("name", ["scope-resumed", "tenant-created"])
def test_a_newer_schema_version_names_the_event_and_the_remedy(name: str, extra: dict[str, str]) -> None:
    event = stored(EXAMPLES[name])
    data = json.loads(event.state)["data"] | extra
    with pytest.raises(UnreadableEvent, match=r"event 5 of stream:x .*schema version 2.*up to 1: update it"):
        read(changed(event, v=2, data=data))


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b"no json", b'{"v":1}', b'{"v":1,"data":"v1."}'])
@pytest.mark.parametrize("name", ["scope-held", "tenant-created"])
def test_bytes_that_do_not_fit_name_the_event(name: str, state: bytes) -> None:
    event = StoredEvent("stream:x", 5, EXAMPLES[name].TOPIC, state)
    with pytest.raises(UnreadableEvent, match="event 5 of stream:x"):
        read(event)


def test_an_event_that_the_mapper_does_not_know_cannot_be_stored() -> None:
    class Unheard(Event):
        TOPIC = "tenantry.unheard-of"

    with pytest.raises(UnreadableEvent, match="add it there"):
        stored(Unheard())


def test_whose_key_an_event_needs_is_known_ahead() -> None:
    assert {MAPPER.subject_of(event) for event in EXAMPLES.values()} == {"customer:c-1", None}
    identities = next(facts for facts in FACTS if facts.kind == "identity")
    assert MAPPER.subject_of(StepCompleted(**STEP, result=identities)) == "tenant:t-1"


def test_a_completion_that_found_no_person_needs_no_key() -> None:
    assert MAPPER.subject_of(EXAMPLES["step-completed-removal"]) is None
    placed = next(facts for facts in FACTS if facts.kind == "region")
    assert MAPPER.subject_of(StepCompleted(**STEP, result=placed)) is None


if __name__ == "__main__":
    for example, body in EXAMPLES.items():
        path = HISTORIES / f"{example}.json"
        if not path.exists():
            path.write_text(golden(stored(body)))
