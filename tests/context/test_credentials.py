"""The credential service over a real log and real shards: who is given a password, what is recorded, what a rotation
does."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import urllib3
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from access.protection import Protection, watched
from cli.credential_service import SERVICE
from context.credentials.grants import Grants, InvalidGrants
from context.credentials.run import credential_service_of
from context.service.run import run_app
from projections.contexts import TenantStreams, document_of
from runtime.compose import Parts
from runtime.compose.contexts import context_rules_of
from tenantry_client.asap import KeyFolder, Signer, SigningKey
from tenantry_client.context.credentials import Credentials
from tenantry_client.context.databases import connect
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.targets import Target
from tests.cli.cloud import Cloud, cloud

__all__ = ["cloud"]

JIRA = "jira-software"
KEYS = Path(__file__).parents[1] / "clients" / "asap" / "keys"
ALLOWED = f"""
[[allow]]
caller = "tracker"
callee = "{SERVICE}"
routes = ["GET /v1/credentials/{{tenant}}/{{product}}"]
"""
GRANTED = """
[[grant]]
caller = "tracker"
families = ["jira"]
regions = ["eu"]
"""


def signer(tmp_path: Path, caller: str = "tracker") -> Signer:
    """The public half lies where the service looks for it."""
    folder = tmp_path / "keys" / caller
    folder.mkdir(parents=True, exist_ok=True)
    key = SigningKey.read(f"{caller}/1", KEYS / "rsa.test.pem")
    public = key.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "1.pem").write_bytes(public)
    return Signer(caller, key)


@pytest.fixture
def url(cloud: Cloud, tmp_path: Path) -> Iterator[str]:
    """The service at work, for `tracker`."""
    (tmp_path / "access.toml").write_text(ALLOWED)
    (tmp_path / "grants.toml").write_text(GRANTED)
    signer(tmp_path)
    stop, told, ports = threading.Event(), threading.Event(), list[int]()
    with Parts(cloud.parts.settings, cloud.parts.endpoints) as parts:
        protected = Protection(SERVICE, KeyFolder(tmp_path / "keys"), watched(tmp_path / "access.toml"))
        app = protected(credential_service_of(parts, tmp_path / "grants.toml"))

        def ready(port: int) -> None:
            ports.append(port)
            told.set()

        thread = threading.Thread(
            target=run_app, args=(app, ("127.0.0.1", 0)), kwargs={"tls": None, "stop": stop, "ready": ready}
        )
        thread.start()
        try:
            assert told.wait(20)
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            stop.set()
            thread.join(10)


def target(cloud: Cloud, tenant_id: str) -> Target:
    told = json.loads(cloud.says("credentials", tenant_id, JIRA, "--json"))
    names = ("host", "port", "database", "schema", "role")
    return Target(tenant_id, JIRA, *(str(told[name]) for name in names))


def password(cloud: Cloud, tenant_id: str) -> str:
    return str(json.loads(cloud.says("credentials", "show", tenant_id, JIRA, "--json"))["password"])


def level_told(cloud: Cloud, tenant_id: str) -> str:
    """What the tenant's context says of the product."""
    rules = context_rules_of(cloud.parts, cloud.parts.configuration)
    snapshot = cloud.snapshot(tenant_id)
    found = document_of(TenantStreams(snapshot.tenant, dict(snapshot.scopes)), rules, version=1)
    assert found is not None
    return found.products[JIRA].level


@contextmanager
def refused(code: str) -> Iterator[Callable[[], str]]:
    with pytest.raises(ContextRefused) as found:
        yield lambda: str(found.value)
    assert found.value.code == code


def test_a_service_logs_in_with_the_password_that_it_was_granted_and_each_fetch_is_recorded(
    cloud: Cloud, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tenant_id = cloud.tenant()
    credentials, at = Credentials(url, signer(tmp_path)), target(cloud, tenant_id)
    for _ in range(3):
        with connect(at, credentials) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (at.role,)
    (fetch,) = json.loads(cloud.says("credentials", "fetches", "--tenant", tenant_id, "--json"))
    assert (fetch["caller"], fetch["role"], fetch["rotation"]) == ("tracker", at.role, 0)
    assert fetch["token_id"]
    assert at.role in cloud.says("credentials", "fetches")
    given = password(cloud, tenant_id)
    assert given == credentials(at)
    assert given not in caplog.text + repr(credentials) + json.dumps(fetch)


def test_what_no_grant_names_is_refused_and_the_file_is_read_again_without_a_restart(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    eu, us = target(cloud, cloud.tenant()), target(cloud, cloud.tenant(region="us"))
    credentials = Credentials(url, signer(tmp_path))
    with refused("credentials-refused") as said:
        credentials(us)
    assert "no grant gives tracker the family jira in us" in said()
    with refused("credentials-refused"):
        Credentials(url, signer(tmp_path, "stranger"))(eu)
    with refused("credentials-refused"):
        credentials(eu._replace(tenant_id="nobody"))
    answer = urllib3.request("GET", f"{url}/v1/credentials/{eu.tenant_id}/{JIRA}", retries=False)
    assert (answer.status, answer.json()["code"]) == (401, "token-missing")
    assert json.loads(cloud.says("credentials", "fetches", "--json")) == []
    (tmp_path / "grants.toml").write_text(GRANTED.replace('"eu"', '"us"'))
    threading.Event().wait(1.1)
    assert credentials(us) == password(cloud, us.tenant_id)
    with refused("credentials-refused"):
        credentials(eu)


def test_a_rotated_password_is_fetched_again_once_and_the_old_one_is_refused(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    tenant_id = cloud.tenant()
    credentials, at = Credentials(url, signer(tmp_path)), target(cloud, tenant_id)
    old = credentials(at)
    said = cloud.says("credentials", "rotate", tenant_id, JIRA, "--reason", "it was seen in a log", "--as", "Ada")
    assert said.startswith(f"{at.role} gets another password")
    assert credentials(at) == old
    assert level_told(cloud, tenant_id) == "open"
    cloud.work()
    assert level_told(cloud, tenant_id) == "open"
    with refused("database-refused"):
        connect(at, lambda _: old)
    threading.Event().wait(1.0)
    with connect(at, credentials) as connection:
        assert connection.execute("SELECT current_user").fetchone() == (at.role,)
    assert credentials(at) == password(cloud, tenant_id) != old
    assert [each["rotation"] > 0 for each in json.loads(cloud.says("credentials", "fetches", "--json"))] == [
        True,
        False,
    ]
    cloud.finds_nothing()
    story = cloud.says("runs", "show", f"family:{tenant_id}:jira")
    assert "ensured again: by " in story
    assert "Ada" in story
    assert "it was seen in a log" in story


def test_a_second_rotation_gives_a_third_password_and_other_tenants_keep_theirs(cloud: Cloud) -> None:
    tenant_id, other = cloud.tenant(), cloud.tenant()
    passwords, kept = [password(cloud, tenant_id)], password(cloud, other)
    for _ in range(2):
        cloud.says("credentials", "rotate", tenant_id, JIRA, "--reason", "each month")
        cloud.work()
        passwords.append(password(cloud, tenant_id))
    assert len(set(passwords)) == 3
    assert password(cloud, other) == kept
    at = target(cloud, tenant_id)
    connect(at, lambda _: passwords[-1]).close()
    for each in passwords[:-1]:
        with refused("database-refused"):
            connect(at, lambda _, each=each: each)  # type: ignore[misc]


def test_a_suspended_products_password_is_given_to_nobody(cloud: Cloud, url: str, tmp_path: Path) -> None:
    tenant_id = cloud.tenant()
    at = target(cloud, tenant_id)
    cloud.hears("product.suspended", {"tenant_id": tenant_id, "product": JIRA, "reason": "unpaid"}, revision=2)
    with refused("credentials-refused") as said:
        Credentials(url, signer(tmp_path))(at)
    assert "product-closed" in said()


def test_a_fetch_that_cannot_be_recorded_is_refused_and_the_record_cannot_be_changed(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    at = target(cloud, cloud.tenant())
    credentials = Credentials(url, signer(tmp_path), kept_seconds=0)
    credentials(at)
    for statement in ("UPDATE credential_fetches SET caller = 'x'", "DELETE FROM credential_fetches"):
        with pytest.raises(psycopg.errors.RaiseException):
            cloud.control(statement)
    cloud.control("ALTER TABLE credential_fetches RENAME TO gone")
    with refused("credentials-unavailable") as said:
        credentials(at)
    assert "fetch-not-recorded" in said()
    cloud.control("ALTER TABLE gone RENAME TO credential_fetches")
    credentials(at)


def count(cloud: Cloud) -> int:
    return len(json.loads(cloud.says("credentials", "fetches", "--json")))


def test_what_is_kept_is_bounded_in_number_and_in_time(cloud: Cloud, url: str, tmp_path: Path) -> None:
    now = [0.0]
    credentials = Credentials(url, signer(tmp_path), kept=2, kept_seconds=60, monotonic=lambda: now[0])
    targets = [target(cloud, cloud.tenant()) for _ in range(3)]
    for each in targets:
        credentials(each)
    assert credentials.kept == 2
    before = count(cloud)
    credentials(targets[2])
    assert count(cloud) == before
    now[0] = 60.0
    credentials(targets[2])
    assert count(cloud) == before + 1


@pytest.mark.parametrize(
    "asked",
    [
        ("tracker", "jira", "us"),
        ("tracker", "confluence", "eu"),
        ("notes", "jira", "eu"),
        ("notes", "confluence", "us"),
    ],
)
def test_a_grant_counts_for_its_caller_family_and_region_together(asked: tuple[str, str, str]) -> None:
    grants = Grants.parse(
        '[[grant]]\ncaller = "tracker"\nfamilies = ["jira"]\nregions = ["eu"]\n'
        '[[grant]]\ncaller = "notes"\nfamilies = ["confluence"]\nregions = ["eu"]'
    )
    assert grants.allow("tracker", "jira", "eu")
    assert not grants.allow(*asked)


@pytest.mark.parametrize(
    "text",
    ["[[grant]]", '[[grant]]\ncaller = "a"\nfamilies = []\nregions = ["eu"]', "[grant]", "a", '[[allow]]\ncaller = "a"',
     '[[grant]]\ncaller = "a b"\nfamilies = ["x"]\nregions = ["eu"]'],
)  # fmt: skip
def test_a_file_of_grants_that_is_wrong_is_refused_whole(text: str) -> None:
    with pytest.raises(InvalidGrants):
        Grants.parse(text)


def test_a_service_that_is_away_or_a_place_in_the_clear_is_refused(tmp_path: Path) -> None:
    at = Target("t-1", JIRA, "h", "1", "d", "s", "r")
    with refused("credentials-unavailable"):
        Credentials("http://127.0.0.1:1", signer(tmp_path))(at)
    for url in ("http://credentials.example", "https://user@credentials.example", "ftp://x"):
        with pytest.raises(ValueError, match="https"):
            Credentials(url, signer(tmp_path))
