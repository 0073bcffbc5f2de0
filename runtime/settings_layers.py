"""Loading of the settings: environment over file over defaults, with one line for each value that is wrong.

    TENANTRY_* environment    TENANTRY_POLL_SECONDS=0.1, nested names with `__`
    tenantry.toml             given explicitly, or named by TENANTRY_CONFIG, or ./tenantry.toml if it is there
    defaults                  enough for the embedded parts: no setting is needed to start

A wrong setting becomes one line that names the setting, its source and the remedy. Values are never repeated in it:
what was mistyped may be a password.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, cast

import pydantic_settings
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from runtime.settings import CONFIG_FILE, CONFIG_VARIABLE, PREFIX, Settings, ShardSettings
from runtime.settings_error import SettingsError


def load_settings(*, config_file: Path | None = None, **overrides: object) -> Settings:
    """Read environment over file over defaults; `overrides` (a command's options) win over all, None is none.

    Raises SettingsError with one line for each wrong setting.
    """
    path = _config_path(config_file)
    file_values = _read_file(path) if path else {}
    env_values = _read_environment()
    options = {name: value for name, value in overrides.items() if value is not None}
    shards = _with_shard_variables(file_values.get("shards", []), env_values)
    merged = {**file_values, **env_values, **options}
    if shards:
        merged["shards"] = options.get("shards", shards)
    try:
        return Settings(**merged)  # type: ignore[arg-type]  # judged right here, field by field
    except ValidationError as error:
        problems = (
            _problem(part["loc"], part["msg"], _source(part["loc"], options, env_values, path))
            for part in error.errors(include_input=False, include_context=False, include_url=False)
        )
        raise SettingsError(*dict.fromkeys(problems)) from None


def _config_path(explicit: Path | None) -> Path | None:
    if explicit is not None:
        return explicit
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    here = Path(CONFIG_FILE)
    return here if here.is_file() else None


def where_settings_were_sought() -> str:
    """Which file the settings came from, or where none was found."""
    if named := os.environ.get(CONFIG_VARIABLE):
        return f"{Path(named).absolute()}, named by {CONFIG_VARIABLE}"
    path = Path(CONFIG_FILE).absolute()
    return str(path) if path.is_file() else f"{path} is not there, {CONFIG_VARIABLE} is not set"


def _read_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            values: dict[str, object] = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}: correct its path or its rights") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The parser's message tells where, and at most one character of what.
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None
    problems = [_unknown(name, Settings.model_fields, f"in {path}") for name in values]
    shards = values.get("shards")
    for shard in shards if isinstance(shards, list) else ():
        if isinstance(shard, dict):
            problems += [_unknown(name, ShardSettings.model_fields, f"in a shard of {path}") for name in shard]
    if found := [problem for problem in problems if problem]:
        raise SettingsError(*found)
    # A path in the file means the same whatever directory a worker was started in.
    for name in _PATHS:
        if isinstance(value := values.get(name), str):
            values[name] = path.parent / value
    return values


_PATHS: Final = (
    *("data_dir", "master_key_file", "seal_key_file", "seal_checkpoint_file"),
    *("catalog_file", "policy_file", "webhook_secrets_file"),
)


def _read_environment() -> dict[str, object]:
    source = EnvSettingsSource(Settings, env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True)
    try:
        values = cast("dict[str, object]", source())
    except pydantic_settings.SettingsError as error:
        name = re.search(r'field "(\w+)"', str(error))
        raise SettingsError(
            f"setting {name[1] if name else '?'} (environment): cannot be read: write it as JSON, or in {CONFIG_FILE}"
        ) from None
    return values


def _with_shard_variables(file_shards: object, env_values: dict[str, object]) -> object:
    """TENANTRY_SHARDS__EU_1__URL sets one value of one shard: its password need not lie in the file."""
    changes = env_values.get("shards")
    if not isinstance(changes, dict) or not isinstance(file_shards, list):
        return changes if changes is not None else file_shards
    by_variable = {
        str(shard["name"]).replace("-", "_"): dict(shard)
        for shard in file_shards
        if isinstance(shard, dict) and "name" in shard
    }
    if len(by_variable) != len(file_shards):
        return file_shards  # a shard without a name, or two with the same: the model says so
    for variable, change in changes.items():
        if variable not in by_variable or not isinstance(change, dict):
            raise SettingsError(
                f"{PREFIX}SHARDS__{str(variable).upper()} (environment): no shard of that name: "
                f"name it in {CONFIG_FILE} first"
            )
        by_variable[variable] |= change
    return list(by_variable.values())


def _unknown(name: str, known: Iterable[str], where: str) -> str | None:
    if name in known:
        return None
    near = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "remove it, docs/reference/ lists all settings"
    return f"unknown setting {name} {where}: {remedy}"


def _source(
    loc: tuple[int | str, ...], options: Mapping[str, object], env: Mapping[str, object], path: Path | None
) -> str:
    name = str(loc[0]) if loc else ""
    if name in options:
        return "given by the command"
    if name in env:
        return f"{PREFIX}{name.upper()} in the environment"
    return f"in {path}" if path else "default"


def _problem(loc: tuple[int | str, ...], message: str, source: str) -> str:
    message = message.removeprefix("Value error, ")
    if not loc:
        return message
    if loc[0] not in Settings.model_fields:
        return f"unknown setting {loc[0]} ({source}): remove it, docs/reference/ lists all settings"
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    return f"setting {name} ({source}): {message[0].lower()}{message[1:]}"
