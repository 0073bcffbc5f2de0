"""Service keys from the sidecar's store: in force, revoked, and under a lease that is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_client.asap import Refused, Signer, SigningKey, Verifier
from tenantry_client.context.keys import ContextKeys
from tenantry_client.context.lease import LEASE_END, lease_path, now_ns
from tenantry_client.context.store import StoreWriter
from tenantry_client.context.tenancy import Tenancy
from tenantry_client.context.wire import FORMAT, Changes, Hello, KeyChange
from tests.clients.asap.mutants import ISSUER, KEY_ID, KEYS

PEM = KEYS[KEY_ID].decode()
SIGNER = Signer(
    ISSUER, SigningKey.read(KEY_ID, Path(__file__).parents[1] / "asap" / "keys" / "rsa.test.pem"), lifetime=3600
)
LONG = 3_600_000_000_000


class Host:
    """A sidecar's store, a process that looks into it, and a verifier by its keys."""

    def __init__(self, directory: Path, *keys: KeyChange) -> None:
        self.writer = StoreWriter(directory)
        self.load(10, *keys)
        self.writer.lease.renew(now_ns() + LONG)
        self.tenancy = Tenancy.open(directory)
        self.keys = ContextKeys(self.tenancy)
        self.verifier = Verifier("engine", self.keys, may_call=lambda _: True)

    def load(self, position: int, *keys: KeyChange) -> None:
        frames = iter((Hello("log-1", 0, FORMAT, position), Changes(position, position, [], [], list(keys))))
        self.writer.switch(self.writer.load(frames))

    def told(self, key: KeyChange) -> None:
        self.writer.apply(Changes(self.writer.position, key.position, [], [], [key]))

    def code(self) -> str:
        """The refusal of a token that is the same each time; empty where it is accepted."""
        try:
            self.verifier.verify(SIGNER.token("engine"))
        except Refused as refused:
            return refused.code
        return ""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    found = Host(tmp_path / "tenancy", KeyChange(KEY_ID, PEM, 5))
    yield found
    found.tenancy.close()
    found.writer.close()
    lease_path(tmp_path / "tenancy").unlink(missing_ok=True)


def test_a_key_of_the_snapshot_counts_and_an_unknown_one_does_not(host: Host) -> None:
    assert host.code() == ""
    with pytest.raises(Refused, match="not known"):
        host.keys.find("billing/other", now=0.0)
    with pytest.raises(Refused, match="not known"):
        host.keys.find("k" * 1_000, now=0.0)


def test_a_revocation_ends_a_token_that_is_remembered_at_once_and_for_good(host: Host) -> None:
    assert host.code() == ""
    host.told(KeyChange(KEY_ID, None, 11))
    assert host.code() == "key-unknown"
    host.told(KeyChange(KEY_ID, PEM, 5))
    assert host.code() == "key-unknown", "what was published before the revocation does not bring it back"


def test_a_key_that_is_published_later_counts(host: Host) -> None:
    host.told(KeyChange(KEY_ID, None, 11))
    host.load(20, KeyChange(KEY_ID, PEM, 19))
    assert host.code() == ""


def test_when_the_lease_is_over_no_key_counts_and_a_remembered_token_ends_with_it(host: Host) -> None:
    assert host.code() == ""
    host.writer.lease.words[LEASE_END] = now_ns() + 300_000_000
    fresh = Verifier("engine", host.keys, may_call=lambda _: True)
    fresh.verify(SIGNER.token("engine"))
    host.verifier = fresh
    assert host.code() == ""
    time.sleep(0.35)
    assert host.code() == "key-unavailable"
    host.writer.lease.renew(now_ns() + LONG)
    assert host.code() == ""


def test_another_snapshot_without_the_key_refuses_it(host: Host) -> None:
    assert host.code() == ""
    host.load(30)
    assert host.code() == "key-unknown"


def test_a_store_of_an_older_format_is_not_believed(tmp_path: Path) -> None:
    directory = tmp_path / "old"
    host = Host(directory, KeyChange(KEY_ID, PEM, 5))
    host.tenancy.close()
    with host.writer._env.begin(write=True) as transaction:  # type: ignore[union-attr]  # noqa: SLF001
        transaction.delete(b"format", db=host.writer._meta)  # noqa: SLF001
    host.writer.close()
    again = StoreWriter(directory)
    assert again.log is None, "it has no keys: a snapshot is needed"
    again.close()
    lease_path(directory).unlink(missing_ok=True)
