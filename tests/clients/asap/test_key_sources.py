"""What every key source does alike: in memory, in a folder, behind HTTPS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tenantry_client.asap import FixedKeys, HttpsKeys, KeyFolder, KeySource, Refused
from tests.clients.asap import repositories
from tests.clients.asap.mutants import KEY_ID, KEYS
from tests.clients.asap.repositories import Authority, serving

AGE = 10.0

Publish = Callable[[Mapping[str, bytes]], None]


@contextmanager
def in_memory(_: Path) -> Iterator[tuple[KeySource, Publish]]:
    keys = FixedKeys()
    yield keys, keys.replace


@contextmanager
def in_a_folder(folder: Path) -> Iterator[tuple[KeySource, Publish]]:
    def publish(keys: Mapping[str, bytes]) -> None:
        for file in folder.rglob("*.pem"):
            file.unlink()
        for name, pem in keys.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.pem").write_bytes(pem)

    yield KeyFolder(folder, max_age=AGE), publish


@contextmanager
def behind_https(folder: Path) -> Iterator[tuple[KeySource, Publish]]:
    authority = Authority.make(folder)
    with serving(authority, repositories.keys({})) as repository:

        def publish(keys: Mapping[str, bytes]) -> None:
            repository.answer = repositories.keys(keys)

        yield HttpsKeys([repository.url], tls=authority.client, max_age=AGE, missing_age=0.0), publish


@pytest.fixture(params=[in_memory, in_a_folder, behind_https], ids=lambda each: each.__name__)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[KeySource, Publish]]:
    with request.param(tmp_path) as made:
        yield made


def code(keys: KeySource, key_id: str, *, now: float) -> str:
    with pytest.raises(Refused) as refused:
        keys.find(key_id, now=now)
    return refused.value.code


def test_a_key_that_is_published_is_found_and_counts_for_a_while(source: tuple[KeySource, Publish]) -> None:
    keys, publish = source
    publish(KEYS)
    for name in (KEY_ID, "billing/ec"):
        assert keys.find(name, now=5.0).usable_until > 5.0


def test_a_key_that_is_not_there_is_unknown_until_it_is_published(source: tuple[KeySource, Publish]) -> None:
    keys, publish = source
    assert code(keys, KEY_ID, now=0.0) == "key-unknown"
    publish({KEY_ID: KEYS[KEY_ID]})
    assert keys.find(KEY_ID, now=1.0)
    assert code(keys, "billing/ec", now=1.0) == "key-unknown"


def test_a_key_that_is_revoked_is_unknown_when_its_age_is_over(source: tuple[KeySource, Publish]) -> None:
    keys, publish = source
    publish(KEYS)
    found = keys.find(KEY_ID, now=0.0)
    before = keys.version
    publish({name: pem for name, pem in KEYS.items() if name != KEY_ID})
    assert keys.version != before or found.usable_until <= AGE, "it says so, or its keys age"
    assert code(keys, KEY_ID, now=AGE) == "key-unknown"
    assert keys.find("billing/ec", now=AGE)


def test_a_key_that_is_replaced_under_its_name_is_the_new_one_when_its_age_is_over(
    source: tuple[KeySource, Publish],
) -> None:
    keys, publish = source
    publish({KEY_ID: KEYS[KEY_ID]})
    old = keys.find(KEY_ID, now=0.0)
    publish({KEY_ID: KEYS["billing/ec"]})
    assert keys.find(KEY_ID, now=AGE).key is not old.key
