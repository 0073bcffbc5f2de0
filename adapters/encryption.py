"""Field encryption: personal fields under a data key for each subject, and the deletion of that key.

    master key (32 bytes, outside the database)
      └─ wraps ─▶ data key of a subject (`customer:ID`, `tenant:ID`, `unattributed`): a row of data_keys
           └─ encrypts ─▶ v1.<key id>.<base64url(nonce | ciphertext | tag)>: in log, backlog, quarantine

Both layers are AES-256-GCM with random 96-bit nonces. An encrypted text is bound to its place (`bound_to`) and
to its key's id, a wrapped key to its subject and id: none can be moved, and a change of any character is
found. The key id alone finds the key, so that a text is read without knowing whose it is. `v1` stays
readable for ever.

To forget a subject is to empty `wrapped`; the row stays, and tells "forgotten" from "lost". A subject has
at most one live key, which a partial unique index decides between processes: both insert, one lands, both
read. A new key is committed before anything is encrypted under it: a crash leaves a key too many, never a text
without one.

Unwrapped keys are cached. `forget` takes effect at once in its own process, also on a load that is under
way (the count of forgettings tells), and in the others when their entries are CACHE_SECONDS old: until then
they may still read, and encrypt under the forgotten key a text that can never be read. A forgotten key never
returns, so that is cached too.

Encryption for a new subject takes a connection of its own: `prefetch` before a transaction, not inside one.
"""

from __future__ import annotations

import base64
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, Protocol

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.postgres.errors import answering
from domain.errors import TenantryError, UsageError, problem

CACHE_SECONDS: Final = 60.0
CACHE_KEYS: Final = 10_000
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12

_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class MasterKey:
    """Wraps the data keys. Raises UsageError where it is not 32 bytes; runtime/master_key.py finds it."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != KEY_BYTES:
            raise UsageError(problem("master-key-length", secret=len(self.secret), key_bytes=KEY_BYTES))

    def wrap(self, key: bytes, subject: str, key_id: str, nonce: bytes) -> bytes:
        return nonce + AESGCM(self.secret).encrypt(nonce, key, _bound("data-key", key_id, subject))

    def unwrap(self, wrapped: bytes, subject: str, key_id: str) -> bytes:
        """Raises UsageError where another master key wrapped it, or its row was changed."""
        nonce, encrypted = wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:]
        try:
            return AESGCM(self.secret).decrypt(nonce, encrypted, _bound("data-key", key_id, subject))
        except (InvalidTag, ValueError):
            raise UsageError(problem("master-key-wrong", key_id=key_id, subject=subject)) from None


@dataclass(frozen=True, slots=True)
class _CachedKey:
    """A key in memory; `cipher` is None where the subject was forgotten."""

    subject: str
    cipher: AESGCM | None
    until: float


class Connections(Protocol):
    """Lends connections of the control database: sessions.Pool, or psycopg's."""

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """One, for as long as the block lasts."""


class PostgresEncryptionKeys:
    """The port SealingKeys on the table data_keys. Threads may share it.

    Raises Unavailable where the database does not answer, UsageError where the master key is another one.
    """

    def __init__(
        self,
        pool: Connections,
        master_key: MasterKey,
        *,
        random_bytes: RandomBytes = os.urandom,
        monotonic: Callable[[], float] = time.monotonic,
        cache_keys: int = CACHE_KEYS,
    ) -> None:
        self._pool = pool
        self._master_key = master_key
        self._random_bytes = random_bytes
        self._monotonic = monotonic
        self._cache_keys = cache_keys
        self._lock = Lock()
        self._by_id: OrderedDict[str, _CachedKey] = OrderedDict()
        self._live: dict[str, str] = {}
        self._forgettings = 0

    # -- the port

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:
        """See the port."""
        key_id, cipher = self._live_key(subject)
        nonce = self._random_bytes(NONCE_BYTES)
        encrypted = nonce + cipher.encrypt(nonce, plain, _bound("sealed", key_id, bound_to))
        return f"v1.{key_id}.{_encode(encrypted)}"

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:
        """See the port."""
        key_id, content = _parse(encrypted, bound_to)
        key = self._cached(key_id) or self._load_ids([key_id]).get(key_id)
        if key is None:
            raise TenantryError(problem("data-key-missing", key_id=key_id, bound_to=bound_to))
        if key.cipher is None:
            return None
        try:
            return key.cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], _bound("sealed", key_id, bound_to))
        except (InvalidTag, ValueError):
            raise _tampered(bound_to) from None

    def forget(self, subject: str) -> None:
        """See the port. Backups and unvacuumed pages hold the wrapped key until they are gone."""
        with self._connection() as connection:
            connection.execute(
                "UPDATE data_keys SET wrapped = NULL, forgotten_at = now() WHERE subject = %s AND forgotten_at IS NULL",
                [subject],
            )
        with self._lock:
            self._forgettings += 1
            self._live.pop(subject, None)
            for key_id in [key_id for key_id, key in self._by_id.items() if key.subject == subject]:
                del self._by_id[key_id]

    # -- in bulk, and at the start

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None:
        """Have the keys at hand for encryption under `subjects` and decryption of `encrypted`: one query each.

        Subjects without a key get one. A damaged encrypted text is refused later, by `decrypt`.
        """
        desired_state = [subject for subject in {*subjects} if self._cached_live(subject) is None]
        if desired_state:
            self._load_subjects(desired_state)
        key_ids = {key_id for _, key_id, _ in (text.split(".", 2) for text in encrypted if text.count(".") == 2)}
        missing = [key_id for key_id in key_ids if _KEY_ID.fullmatch(key_id) and self._cached(key_id) is None]
        if missing:
            self._load_ids(missing)

    def verify(self) -> None:
        """Raises UsageError where the master key is not the one of this database; ask at the start."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT subject, key_id, wrapped FROM data_keys WHERE wrapped IS NOT NULL LIMIT 1"
            ).fetchone()
        if row is not None:
            subject, key_id, wrapped = row
            self._master_key.unwrap(wrapped, subject, key_id)

    # -- keys

    def _live_key(self, subject: str) -> tuple[str, AESGCM]:
        while True:
            if found := self._cached_live(subject) or self._load_subjects([subject]).get(subject):
                return found
            # Another process forgot the subject between our insert and our query: the next round makes another key.

    def _load_subjects(self, subjects: Sequence[str]) -> dict[str, tuple[str, AESGCM]]:
        forgettings = self._forgettings
        with self._connection() as connection:
            rows = connection.execute(_LIVE, [subjects]).fetchall()
            missing = sorted({*subjects} - {row[0] for row in rows})
            if missing:
                # In one order, so that two batches cannot wait for each other.
                new = [(subject, *self._new_key(subject)) for subject in missing]
                connection.execute(_INSERT, list(map(list, zip(*new, strict=True))))
                rows += connection.execute(_LIVE, [missing]).fetchall()
        keys = self._hold(rows, forgettings)
        return {key.subject: (key_id, key.cipher) for key_id, key in keys.items() if key.cipher is not None}

    def _load_ids(self, key_ids: Sequence[str]) -> dict[str, _CachedKey]:
        forgettings = self._forgettings
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT subject, key_id, wrapped FROM data_keys WHERE key_id = ANY(%s)", [list(key_ids)]
            ).fetchall()
        return self._hold(rows, forgettings)

    def _new_key(self, subject: str) -> tuple[str, bytes]:
        key_id = _encode(self._random_bytes(16))
        key = self._random_bytes(KEY_BYTES)
        return key_id, self._master_key.wrap(key, subject, key_id, self._random_bytes(NONCE_BYTES))

    # -- the cache

    def _hold(self, rows: Iterable[Sequence[Any]], forgettings: int) -> dict[str, _CachedKey]:
        until = self._monotonic() + CACHE_SECONDS
        keys = {
            key_id: _CachedKey(subject, self._cipher(subject, key_id, wrapped), until)
            for subject, key_id, wrapped in rows
        }
        with self._lock:
            if forgettings == self._forgettings:
                for key_id, key in keys.items():
                    self._by_id[key_id] = key
                    self._by_id.move_to_end(key_id)
                    if key.cipher is not None:
                        self._live[key.subject] = key_id
                while len(self._by_id) > self._cache_keys:
                    key_id, key = self._by_id.popitem(last=False)
                    if self._live.get(key.subject) == key_id:
                        del self._live[key.subject]
        return keys

    def _cipher(self, subject: str, key_id: str, wrapped: bytes | None) -> AESGCM | None:
        return AESGCM(self._master_key.unwrap(wrapped, subject, key_id)) if wrapped is not None else None

    def _cached(self, key_id: str) -> _CachedKey | None:
        with self._lock:
            key = self._by_id.get(key_id)
            if key is None or key.until <= self._monotonic():
                return None
            self._by_id.move_to_end(key_id)
            return key

    def _cached_live(self, subject: str) -> tuple[str, AESGCM] | None:
        key_id = self._live.get(subject)
        key = self._cached(key_id) if key_id is not None else None
        if key_id is None or key is None or key.cipher is None:
            return None
        return key_id, key.cipher

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with answering("the control database"), self._pool.connection() as connection, connection.transaction():
            yield connection


class NoKeys:
    """The keys of a reader of the log that has none: every text stays encrypted, and is read as one forgotten."""

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:  # noqa: ARG002 - the port's
        raise UsageError(problem("encryption-without-keys", bound_to=bound_to))

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:  # noqa: ARG002 - the port's
        return None

    def forget(self, subject: str) -> None:
        raise UsageError(problem("forgetting-without-keys", subject=subject))

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None:
        """There is nothing to fetch."""


_LIVE: Final = "SELECT subject, key_id, wrapped FROM data_keys WHERE subject = ANY(%s) AND forgotten_at IS NULL"
_INSERT: Final = (
    "INSERT INTO data_keys (subject, key_id, wrapped)"
    " SELECT * FROM unnest(%s::text[], %s::text[], %s::bytea[])"
    " ON CONFLICT (subject) WHERE forgotten_at IS NULL DO NOTHING"
)


def _bound(purpose: str, key_id: str, place: str) -> bytes:
    """What GCM authenticates beside the text; unambiguous, because only the place could hold a NUL."""
    return f"tenantry.{purpose}.v1\0{key_id}\0{place}".encode()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _parse(encrypted: str, bound_to: str) -> tuple[str, bytes]:
    """Key id and content. Only the spelling of `_encode` is taken: base64 has others for the same bytes."""
    form, _, rest = encrypted.partition(".")
    key_id, _, encoded = rest.partition(".")
    if form != "v1":
        raise TenantryError(problem("encrypted-form-unknown", bound_to=bound_to))
    try:
        content = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise _tampered(bound_to) from None
    if _encode(content) != encoded or not _KEY_ID.fullmatch(key_id):
        raise _tampered(bound_to)
    return key_id, content


def _tampered(bound_to: str) -> TenantryError:
    return TenantryError(problem("encrypted-text-changed", bound_to=bound_to))
