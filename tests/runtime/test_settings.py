"""Which settings hold, and what does a person read when one is wrong?"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from runtime.settings import EMBEDDED_SHARDS, Settings, ShardSettings
from runtime.settings_error import SettingsError
from runtime.settings_layers import load_settings
from runtime.unknown_variables import unknown_variables

Write = Callable[[str], Path]
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TENANTRY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def _write(text: str) -> Path:
        path = tmp_path / "tenantry.toml"
        path.write_text(text)
        return path

    return _write


def problems(**options: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(config_file=None, **options)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems


def problem(**options: object) -> str:
    [only] = problems(**options)
    return only


# ---------------------------------------------------------------- layers


def test_without_any_setting_the_embedded_parts_are_used() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.kafka_bootstrap is None
    assert settings.topology == EMBEDDED_SHARDS
    assert settings.regions == {"eu", "us"}
    assert [shard.database_name for shard in settings.topology] == [
        "shard_eu_1",
        "shard_eu_2",
        "shard_us_1",
        "shard_us_2",
    ]


def test_environment_wins_over_file_and_file_over_defaults(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("intake_batch = 100\nprojector_batch = 200\n")
    monkeypatch.setenv("TENANTRY_PROJECTOR_BATCH", "300")
    settings = load_settings()
    assert (settings.intake_batch, settings.projector_batch, settings.provisioner_claim) == (100, 300, 256)


def test_an_option_of_the_command_wins_over_all_and_none_is_no_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENANTRY_LOG_LEVEL", "error")
    assert load_settings(log_level=None).log_level == "error"
    assert load_settings(log_level="debug").log_level == "debug"


def test_an_empty_variable_is_as_if_it_were_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_DATABASE_URL", "")
    assert load_settings().database_url is None


def test_the_file_is_found_by_option_then_by_variable_then_here(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("site_domain = 'here'")
    assert load_settings().site_domain == "here"
    (tmp_path / "named.toml").write_text("site_domain = 'named'")
    monkeypatch.setenv("TENANTRY_CONFIG", "named.toml")
    assert load_settings().site_domain == "named"
    (tmp_path / "given.toml").write_text("site_domain = 'given'")
    assert load_settings(config_file=tmp_path / "given.toml").site_domain == "given"


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "tenantry.toml"
    path.write_text("data_dir = 'data'\ncatalog_file = '/opt/catalog.toml'\n")
    settings = load_settings(config_file=path)
    assert settings.data_dir == tmp_path / "etc" / "data"
    assert settings.catalog_file == Path("/opt/catalog.toml")


def test_settings_by_themselves_read_nothing(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("intake_batch = 100")
    monkeypatch.setenv("TENANTRY_PROJECTOR_BATCH", "300")
    assert (Settings().intake_batch, Settings().projector_batch) == (1000, 1000)


# ---------------------------------------------------------------- regions and shards

TWO_SHARDS = """
default_region = "ap"
[[shards]]
name = "ap-1"
region = "ap"
url = "postgresql://owner@one/postgres"
[[shards]]
name = "eu-1"
region = "eu"
url = "postgresql://owner@two/postgres"
isolation = "database"
capacity = 3
"""


def test_shards_of_the_file_replace_the_embedded_ones(write: Write) -> None:
    write(TWO_SHARDS)
    settings = load_settings()
    assert settings.regions == {"ap", "eu"}
    assert [(shard.name, shard.isolation, shard.capacity) for shard in settings.topology] == [
        ("ap-1", "schema", 10_000),
        ("eu-1", "database", 3),
    ]


def test_the_password_of_a_shard_can_come_from_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(TWO_SHARDS)
    monkeypatch.setenv("TENANTRY_SHARDS__EU_1__URL", "postgresql://owner:pw@two/postgres")
    first, second = load_settings().topology
    assert first.url == SecretStr("postgresql://owner@one/postgres")
    assert second.url == SecretStr("postgresql://owner:pw@two/postgres")
    assert second.capacity == 3


def test_a_variable_for_a_shard_that_is_not_there_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(TWO_SHARDS)
    monkeypatch.setenv("TENANTRY_SHARDS__EU_9__URL", "postgresql://owner:pw@two/postgres")
    assert problem().startswith("TENANTRY_SHARDS__EU_9 (environment): no shard of that name")


def test_all_shards_can_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_SHARDS", '[{"name": "eu-7", "region": "eu"}]')
    assert load_settings().topology == (ShardSettings(name="eu-7", region="eu"),)


def test_two_shards_of_one_name_are_refused(write: Write) -> None:
    path = write(TWO_SHARDS.replace('"ap-1"', '"eu-1"'))
    assert problem() == (f"setting shards (in {path.name}): two shards are named eu-1: give each a name of its own")


def test_a_default_region_without_a_shard_is_refused(write: Write) -> None:
    write("[[shards]]\nname = 'ap-1'\nregion = 'ap'\n")
    assert problem() == "setting default_region: no shard is in eu: set one of ap"


# ---------------------------------------------------------------- what is wrong is said in one line


def test_a_wrong_value_is_named_with_its_source(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("poll_seconds = 'often'")
    monkeypatch.setenv("TENANTRY_TOPIC_PARTITIONS", "0")
    partitions, poll = sorted(problems(), reverse=True)
    assert partitions.startswith(
        "setting topic_partitions (TENANTRY_TOPIC_PARTITIONS in the environment): "
        "input should be greater than or equal to 1"
    )
    assert poll.startswith("setting poll_seconds (in tenantry.toml): input should be a valid number")


def test_a_wrong_value_inside_a_shard_is_named_with_its_place(write: Write) -> None:
    write(TWO_SHARDS.replace("capacity = 3", "capacity = -3"))
    assert problem().startswith("setting shards[1].capacity (in tenantry.toml): ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TENANTRY_DATABASE_URL", "mysql://root:hunter2@db/tenantry"),
        ("TENANTRY_SHARDS", '[{"name": "a", "region": "eu", "url": "hunter2"}]'),
        ("TENANTRY_SHARDS", '[{"name": "hunter2'),
        ("TENANTRY_KAFKA_BOOTSTRAP", "hunter2"),
    ],
)
def test_no_wrong_value_is_repeated(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    assert "hunter2" not in problem()
    assert variable.removeprefix("TENANTRY_").lower() in problem()


def test_secrets_are_not_shown_with_the_settings() -> None:
    settings = load_settings(master_key=KEY, database_url="postgresql://me:hunter2@db/tenantry")
    assert KEY not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(write: Write) -> None:
    write("log_levle = 'info'")
    assert problem() == "unknown setting log_levle in tenantry.toml: did you mean log_level?"


def test_an_unknown_name_in_a_shard_is_refused_with_the_nearest(write: Write) -> None:
    write("[[shards]]\nname = 'a'\nregoin = 'eu'\n")
    assert problem() == "unknown setting regoin in a shard of tenantry.toml: did you mean region?"


def test_an_unknown_variable_is_told_with_the_nearest_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_KAFKA_BOOTSTRAPS", "hunter2:1")
    monkeypatch.setenv("TENANTRY_WHATEVER", "hunter2")
    assert load_settings().kafka_bootstrap is None
    assert unknown_variables() == [
        (
            "unknown setting TENANTRY_KAFKA_BOOTSTRAPS in the environment: did you mean TENANTRY_KAFKA_BOOTSTRAP?"
            " It is passed over"
        ),
        "unknown setting TENANTRY_WHATEVER in the environment: docs/reference/settings.md lists all. It is passed over",
    ]


LINKS = {
    "TENANTRY_SERVICE_HOST": "10.96.7.1",
    "TENANTRY_SERVICE_PORT": "8080",
    "TENANTRY_SERVICE_PORT_HTTP": "8080",
    "TENANTRY_PORT": "tcp://10.96.7.1:8080",
    "TENANTRY_PORT_8080_TCP": "tcp://10.96.7.1:8080",
    "TENANTRY_PORT_8080_TCP_PROTO": "tcp",
    "TENANTRY_PORT_8080_TCP_PORT": "8080",
    "TENANTRY_PORT_8080_TCP_ADDR": "10.96.7.1",
    "TENANTRY_CONSOLE_SERVICE_HOST": "fd00::7",
    "TENANTRY_CONSOLE_PORT": "udp://[fd00::7]:53",
    "TENANTRY_CONSOLE_PORT_53_UDP_ADDR": "fd00::7",
    "TENANTRY_KAFKA_BOOTSTRAP_SERVICE_HOST": "10.96.7.2",
}


def test_the_variables_of_a_kubernetes_service_named_tenantry_are_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in LINKS.items():
        monkeypatch.setenv(name, value)
    assert load_settings() == Settings()
    assert unknown_variables() == []


def test_a_port_that_is_no_service_link_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_PORT", "8080")
    [told] = unknown_variables()
    assert told.startswith("unknown setting TENANTRY_PORT in the environment")


def test_an_unknown_option_is_refused() -> None:
    assert problem(colour="red").startswith("unknown setting colour (given by the command)")


def test_a_file_that_is_not_toml_says_where(write: Write) -> None:
    write("log_level = \n")
    assert problem().startswith("settings file tenantry.toml is not TOML: ")
    assert "line 1" in problem()


def test_a_named_file_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_CONFIG", "elsewhere.toml")
    assert problem().startswith("settings file elsewhere.toml: No such file or directory")


def test_settings_do_not_change_once_they_hold() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().intake_batch = 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("kafka:9092", "kafka:9092"),
        ("[::1]:9092", "[::1]:9092"),
        ("a:1,[2001:db8::7]:9092,10.0.0.1:65535", "a:1,[2001:db8::7]:9092,10.0.0.1:65535"),
        ("a:1, b:2", "a:1,b:2"),
    ],
)
def test_kafka_may_be_several_servers_with_names_and_addresses(given: str, expected: str) -> None:
    assert Settings(kafka_bootstrap=given).kafka_bootstrap == expected


@pytest.mark.parametrize(
    "wrong", ["", "kafka", "::1:9092", "[::1]", "[nobody]:9092", "a:0", "a:65536", "a:1,", "a:1 b:2"]
)
def test_a_kafka_server_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"as \[::1\]:9092"):
        Settings(kafka_bootstrap=wrong)
