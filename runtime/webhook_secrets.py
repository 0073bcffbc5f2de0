"""Webhook secrets: the keys that sign requests to provisioners of other teams, and their source.

Never from the catalogue: from a file, and from the environment, which goes before it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from runtime.settings import Settings
from runtime.settings_error import SettingsError


def load_webhook_secrets(settings: Settings) -> Mapping[str, str]:
    """All of them by name, as they are written there.

    Raises SettingsError when the file cannot be read, says something else, or lies where everybody on the machine can
    read it.
    """
    path = settings.webhook_secrets_file
    in_file = _in_file(path) if path else {}
    return in_file | {name: secret.get_secret_value() for name, secret in settings.webhook_secrets.items()}


def _in_file(path: Path) -> dict[str, str]:
    try:
        if path.stat().st_mode & 0o007:
            raise SettingsError(f"webhook secrets {path} can be read or written by everybody: chmod 600 {path}")
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"webhook secrets {path}: {error.strerror}: correct the path or its rights") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsError(f'webhook secrets {path} is not TOML: write lines of the form name = "whsec_..."') from None
    for name, value in values.items():
        if not isinstance(value, str):
            raise SettingsError(f'webhook secrets {path}: {name} is no text: write {name} = "whsec_..."')
    return values
