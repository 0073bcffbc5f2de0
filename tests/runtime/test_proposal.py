"""Does a configuration hold what all may read, and reach what it names?"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.configuration import Adopted, Configuration, ConfigurationAdopted
from runtime.instance import Endpoints
from runtime.proposal import in_use, proposed, shards_of, warning
from runtime.settings import Settings, ShardSettings

SECRET = "Marked-S3cret"
HERE = Endpoints("postgresql://ada@db/tenantry", "127.0.0.1:9092")


def settings_with(*shards: ShardSettings, **more: object) -> Settings:
    return Settings(shards=shards, default_region="eu", **more)  # type: ignore[arg-type]


def shard(name: str, url: str | None) -> ShardSettings:
    return ShardSettings(name=name, region="eu", url=url)  # type: ignore[arg-type]


def adopted(configuration: Configuration) -> Adopted:
    event = ConfigurationAdopted(
        catalog=configuration.catalog,
        policy=configuration.policy,
        topology=configuration.topology,
        reason="first",
        operator="ada",
    )
    return Adopted(version=1, event=event)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"postgresql://marked:{SECRET}@one.example:6432/shard", "one.example:6432/shard"),
        (f"postgresql://marked:{SECRET}@one.example,two.example/shard", "one.example:5432,two.example:5432/shard"),
        (f"postgresql://marked@[::1]:5433/shard?password={SECRET}", "::1:5433/shard"),
    ],
)
def test_an_address_holds_no_user_and_no_password(url: str, address: str) -> None:
    found = proposed(settings_with(shard("eu-1", url))).topology
    assert found.shards[0].address == address
    assert SECRET not in found.model_dump_json()
    assert "marked" not in found.model_dump_json()


def test_a_shard_without_an_address_lies_beside_the_log() -> None:
    configuration = proposed(settings_with(shard("eu-1", None)))
    [found] = shards_of(configuration.topology, settings_with(shard("eu-9", None)), HERE)
    assert "dbname=shard_eu_1" in found.url
    assert found.unreachable is None


def test_the_url_of_an_adopted_shard_is_found_by_its_name() -> None:
    url = f"postgresql://marked:{SECRET}@one.example/shard"
    configuration = proposed(settings_with(shard("eu-1", url)))
    [found] = shards_of(configuration.topology, settings_with(shard("eu-1", url)), HERE)
    assert found.url == url
    by_card = Endpoints(HERE.database_url, HERE.kafka_bootstrap, shard_urls={"eu-1": url})
    [found] = shards_of(configuration.topology, settings_with(), by_card)
    assert found.url == url


def test_a_shard_without_a_url_here_says_why_nobody_can_reach_it() -> None:
    configuration = proposed(settings_with(shard("eu-1", f"postgresql://marked:{SECRET}@one.example/shard")))
    [found] = shards_of(configuration.topology, settings_with(), HERE)
    assert found.unreachable is not None
    assert "one.example:5432/shard" in found.unreachable
    assert found.reached_at() == ("one.example", 5432)


def test_a_file_that_is_named_and_differs_is_a_warning(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        'retention = "P1D"\nrestore_window = "P1D"\nwaiting_limit = 1\n[retry]\nattempts = 1\nfirst_delay = "PT1S"\n'
        'factor = 1.0\nlongest_delay = "PT1S"\njitter = 0.0\nobstacle_poll = "PT1S"\nstep_timeout = "PT1S"\n'
    )
    plain, named = Settings(), Settings(policy_file=policy)
    holds = adopted(proposed(plain))
    assert warning(holds, plain) is None
    assert "the adopted one is used" in (warning(holds, named) or "")
    assert warning(Adopted(), named) is None


def test_a_file_that_is_broken_stops_nobody_who_uses_what_is_adopted(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("retention = no")
    holds = adopted(proposed(Settings()))
    assert "cannot be used" in (warning(holds, Settings(policy_file=policy)) or "")


def test_where_settings_were_looked_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENANTRY_CONFIG", raising=False)
    holds = adopted(proposed(Settings())).but(at=datetime(2026, 1, 1, tzinfo=UTC))
    lines = list(in_use(holds, Settings()))
    assert f"{tmp_path}/tenantry.toml is not there" in lines[1]
