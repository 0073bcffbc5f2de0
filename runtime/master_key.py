"""Where does the key come from that wraps the keys of all customers?

It lives outside the log and outside the database (DOMAIN: personal data): in the environment or in a file.
"""

import base64
import binascii
import os
import secrets
from pathlib import Path

from runtime.settings import Settings
from runtime.settings_error import SettingsError

MASTER_KEY_BYTES = 32


def load_master_key(settings: Settings) -> bytes:
    """The 32 bytes, from the setting `master_key` or from its file.

    Raises SettingsError when it is missing, malformed, or lies where everybody on the machine can read it.
    """
    if settings.master_key is not None:
        return _decode_master_key(settings.master_key.get_secret_value(), "setting master_key")
    path = settings.master_key_path
    try:
        # Readable by a group is allowed: that is how a mounted secret reaches a process that is not root.
        if path.stat().st_mode & 0o007:
            raise SettingsError(f"master key {path} can be read or written by everybody: chmod 600 {path}")
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        raise SettingsError(
            f"master key {path} is missing: set TENANTRY_MASTER_KEY_FILE or restore it from a backup; "
            "what it sealed cannot be read without it"
        ) from None
    except OSError as error:
        raise SettingsError(f"master key {path}: {error.strerror}: give this user the right to read it") from None
    return _decode_master_key(text, f"master key {path}")


def ensure_master_key(settings: Settings) -> bytes:
    """As `load_master_key`, but creates the file (0600) on the embedded parts' first start.

    Only at the default place: under a path that was set, a new key would hide a typing error until nothing
    that the old one sealed can be read. The caller makes sure that no data is there yet. Two processes at
    once get one key.
    """
    path = settings.master_key_path
    if settings.master_key is None and settings.master_key_file is None and not path.exists():
        keep_first(path, base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).decode() + "\n")
    return load_master_key(settings)


def keep_first(path: Path, text: str) -> None:
    """Put a secret where none is yet, for its owner only; whole or not at all, and of several the first one wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _decode_master_key(text: str, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(f"{what} is not base64: write {MASTER_KEY_BYTES} random bytes in base64") from None
    if len(key) != MASTER_KEY_BYTES:
        raise SettingsError(f"{what} has {len(key)} bytes: write {MASTER_KEY_BYTES} random bytes in base64")
    return key
