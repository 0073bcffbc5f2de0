"""Encryption of personal fields, a key for each subject."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class EncryptionKeys(Protocol):
    """Encrypts personal fields under a data key of their subject (`customer:ID`); keys live outside the log."""

    def encrypt(self, subject: str, plain: bytes, bound_to: str) -> str:
        """Text that only `decrypt` of the same subject and place can read; makes the subject's key if need be."""

    def decrypt(self, encrypted: str, bound_to: str) -> bytes | None:
        """The plain bytes; None where the subject was forgotten. Raises TenantryError where it was tampered with."""

    def prefetch(self, *, subjects: Iterable[str] = (), encrypted: Iterable[str] = ()) -> None:
        """Have the keys at hand for encrypting under `subjects` and for decrypting `encrypted`, in one go each."""

    def forget(self, subject: str) -> None:
        """Destroy the subject's keys; everything encrypted under them is unreadable from here on."""
