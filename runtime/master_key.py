"""Master key: the key that wraps the data keys of all customers, and its source.

It lives outside the log and outside the database (DOMAIN: personal data): in the environment or in a file.
"""

import base64
import binascii
import secrets

from runtime.secret_files import keep_first, read_secret
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
    text = read_secret(path, "master key")
    if text is None:
        raise SettingsError(
            f"master key {path} is missing: set TENANTRY_MASTER_KEY_FILE or restore it from a backup; "
            "what it sealed cannot be read without it"
        )
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


def _decode_master_key(text: str, what: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise SettingsError(f"{what} is not base64: write {MASTER_KEY_BYTES} random bytes in base64") from None
    if len(key) != MASTER_KEY_BYTES:
        raise SettingsError(f"{what} has {len(key)} bytes: write {MASTER_KEY_BYTES} random bytes in base64")
    return key
