"""Seal keys: the key that signs the checkpoints of the log, and the keys whose signatures count.

From the environment or a file, outside the database that they watch over. Without any, the log is sealed all the same:
unsigned, which finds accidents, and shows nothing of those who can write to the database.
"""

from __future__ import annotations

from audit.checkpoints import Keyring, Signer
from runtime.secret_files import keep_first, read_secret
from runtime.settings import Settings
from runtime.settings_error import SettingsError


def load_seal_keys(settings: Settings) -> Keyring:
    """The keys of the setting `seal_key` or of its file; none where nothing was set and no file lies at its default.

    Raises SettingsError where a file that was set is missing, where keys are malformed, or where everybody on the
    machine can read the file.
    """
    if settings.seal_key is not None:
        return _parse(settings.seal_key.get_secret_value(), "setting seal_key")
    path = settings.seal_key_path
    text = read_secret(path, "seal key")
    if text is not None:
        return _parse(text, f"seal key {path}")
    if settings.seal_key_file is None:
        return Keyring(origin_of(settings))
    raise SettingsError(f"seal key {path} is missing: correct TENANTRY_SEAL_KEY_FILE or restore the file")


def ensure_seal_key(settings: Settings) -> None:
    """Make a key on the embedded parts' first start, at the default place only, as `ensure_master_key` does."""
    path = settings.seal_key_path
    if settings.seal_key is None and settings.seal_key_file is None and not path.exists():
        signer = Signer.generate(origin_of(settings))
        keep_first(path, f"{signer.secret_text()}\n")


def origin_of(settings: Settings) -> str:
    """What this log is called, in a key that we make and where there is none."""
    return f"{settings.site_domain}/log"


def _parse(text: str, what: str) -> Keyring:
    try:
        return Keyring.parse(text)
    except ValueError as error:
        raise SettingsError(f"{what}: {error}: write PRIVATE+KEY+name+hash+base64, as `up` makes it") from None
