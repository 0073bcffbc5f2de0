"""Signed checkpoints of the log: their text, their keys and the check of their signatures.

A checkpoint says: the first `size` events, all those up to `position`, have this root. It is written and signed as a
C2SP checkpoint (c2sp.org/tlog-checkpoint, c2sp.org/signed-note), so that other tools and witnesses can read it:

    tenantry.example/log                                   origin: the name of the key
    20852163                                               size
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=           root
    position 20852170                                      an extension line of Tenantry

    — tenantry.example/log Az3grlgt...                     key name; base64 of 4 bytes of key hash, and the signature

Keys are text too, one a line, as the note format writes them. `PRIVATE+KEY+name+hash+base64` signs and verifies; the
first of them signs. `name+hash+base64` only verifies. To rotate, put a new private key on top, and leave the old line,
or its public form, below it: what it signed stays provable.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.merkle import HASH_BYTES
from domain.errors import UsageError, problem

_ED25519: Final = b"\x01"
_PRIVATE: Final = "PRIVATE+KEY+"
_SIGNATURE: Final = re.compile(r"^— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$", re.MULTILINE)
_BODY: Final = re.compile(
    r"(?P<origin>[^\n]+)\n(?P<size>[0-9]{1,19})\n(?P<root>[A-Za-z0-9+/]+={0,2})\nposition (?P<position>[0-9]{1,19})"
)

Standing = Literal["signed", "unsigned", "unknown", "forged"]
"""Of a note: a key of the keyring has signed it; it has no signature; only other keys have signed it; a signature of a
key of the keyring is wrong."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content that a key signs."""

    origin: str
    size: int
    root: bytes
    position: int

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\nposition {self.position}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signatures; `str` is the text of the file."""

    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes], ...] = ()
    """Name of the key; key hash and signature."""

    def __str__(self) -> str:
        lines = (f"— {name} {base64.b64encode(signature).decode()}\n" for name, signature in self.signatures)
        return f"{self.checkpoint.text()}\n{''.join(lines)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError where the text is not a checkpoint of Tenantry."""
        note = None
        with suppress(ValueError):
            body, _, below = text.partition("\n\n")
            if found := _BODY.fullmatch(body):
                root = base64.b64decode(found["root"], validate=True)
                signatures = tuple(
                    (name, base64.b64decode(signature, validate=True)) for name, signature in _SIGNATURE.findall(below)
                )
                note = cls(Checkpoint(found["origin"], int(found["size"]), root, int(found["position"])), signatures)
        if note is None or len(note.checkpoint.root) != HASH_BYTES or str(note) != text:  # read back, it is the same
            raise UsageError(problem("checkpoint-malformed"))
        return note


@dataclass(frozen=True, slots=True)
class Verifier:
    """The public half of a key."""

    name: str
    public: bytes

    @property
    def key_hash(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(_ED25519 + self.public).decode()
        return f"{self.name}+{self.key_hash.hex()}+{encoded}"

    def holds(self, signature: bytes, text: str) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key. Its text is a secret; its `repr` shows the name only."""

    name: str
    private: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> Self:
        return cls(name, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, Ed25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw())

    def secret_text(self) -> str:
        """The line for the key file."""
        encoded = base64.b64encode(_ED25519 + self.private).decode()
        return f"{_PRIVATE}{self.name}+{self.verifier.key_hash.hex()}+{encoded}"

    def signature(self, text: bytes) -> str:
        """The line of a signed note over another text than a checkpoint; the text ends with a line break."""
        signature = Ed25519PrivateKey.from_private_bytes(self.private).sign(text)
        return f"— {self.name} {base64.b64encode(self.verifier.key_hash + signature).decode()}\n"

    def sign(self, checkpoint: Checkpoint) -> Note:
        signature = Ed25519PrivateKey.from_private_bytes(self.private).sign(checkpoint.text().encode())
        return Note(checkpoint, ((self.name, self.verifier.key_hash + signature),))


@dataclass(frozen=True, slots=True)
class Keyring:
    """The key that signs (none where no key is set), and the keys whose signatures count."""

    origin: str
    signer: Signer | None = None
    verifiers: tuple[Verifier, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Keys, one a line; empty lines and comments (#) are skipped. The ValueError that it raises shows no key."""
        lines = [line.strip() for line in text.split("\n")]
        keys = [_key(line, number) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
        if not keys:
            raise ValueError("holds no key")
        signer = next((key for key in keys if isinstance(key, Signer)), None)
        verifiers = [key.verifier if isinstance(key, Signer) else key for key in keys]
        return cls((signer or verifiers[0]).name, signer, tuple(dict.fromkeys(verifiers)))

    def note(self, checkpoint: Checkpoint) -> Note:
        return self.signer.sign(checkpoint) if self.signer else Note(checkpoint)

    def standing(self, note: Note) -> Standing:
        """The standing by the note format: every signature of a known key must hold, other signatures are ignored."""
        if not note.signatures:
            return "unsigned"
        known = [
            verifier.holds(signature[4:], note.checkpoint.text())
            for name, signature in note.signatures
            for verifier in self.verifiers
            if (verifier.name, verifier.key_hash) == (name, signature[:4]) and name == note.checkpoint.origin
        ]
        if not known:
            return "unknown"
        return "signed" if all(known) else "forged"

    def signed_by_the_newest(self, note: Note) -> bool:
        """Whether the current signer has signed the note; true where the keyring has no signer."""
        if self.signer is None:
            return True
        ours = self.signer.verifier.key_hash
        return any(signature[:4] == ours for _, signature in note.signatures) and self.standing(note) == "signed"


def key_ids(note: Note) -> Sequence[str]:
    """Name and hash of the keys that have signed the note."""
    return [f"{name}+{signature[:4].hex()}" for name, signature in note.signatures]


def _key(line: str, number: int) -> Signer | Verifier:
    private = line.startswith(_PRIVATE)
    name, _, rest = line.removeprefix(_PRIVATE).partition("+")
    hash_, _, encoded = rest.partition("+")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not name or name != "".join(name.split()) or len(key) != 33 or key[:1] != _ED25519:
        raise ValueError(f"line {number} is no Ed25519 key of the signed note format")
    made = Signer(name, key[1:]) if private else Verifier(name, key[1:])
    verifier = made.verifier if isinstance(made, Signer) else made
    if hash_ != verifier.key_hash.hex():
        raise ValueError(f"line {number} is mistyped: its key hash does not fit its key")
    return made
