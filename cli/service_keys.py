"""Service keys: made, published, listed and revoked, each with the operator and the reason.

The log decides which keys are in force. After each act the folder is updated from it: `{kid}.pem` for every key in
force. Services read that folder, or a server that serves it as a repository.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from application.operator_event import checked_reason
from cli.command import command
from cli.operators import By, Reason
from cli.output import Report, error_line, table
from domain import service_keys
from domain.errors import UsageError, problem
from domain.operator import Operator
from domain.service_keys import ServiceKey
from runtime.compose import Parts
from runtime.compose.operators import service_keys_of
from tenantry_client.asap import Refused, UnusableKey
from tenantry_client.asap.algorithms import PrivateKey, PublicKey, load_public_key
from tenantry_client.asap.key_ids import check_name

app = typer.Typer(
    help="Make, publish, list and revoke the keys that identify services in their calls.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

KeyName = Annotated[
    str, typer.Argument(metavar="KEY-ID", help="The service's name, a / and the key's: billing/2027-01.")
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Where the public keys in force are written.", show_default="service-keys in the data directory"),
]


@app.command()
@command
def new(
    parts: Parts,
    key_id: KeyName,
    reason: Reason,
    private_key: Annotated[
        Path, typer.Option(help="The private key is written to this file, which only its owner can read.")
    ],
    kind: Annotated[Literal["rsa", "p256"], typer.Option(help="rsa: 3072 bits, verifies fastest.")] = "rsa",
    show: Annotated[bool, typer.Option("--show", help="Print the private key as well; not with --json.")] = False,
    folder: Folder = None,
    by: By = "",
) -> Report:
    """Make a key, write its private half to a file, and publish the other."""
    name = _name(key_id)
    key: PrivateKey = (
        rsa.generate_private_key(65537, 3072) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_private(private_key, pem)
    try:
        _publish(parts, name, _pem(key.public_key()), by, reason)
    except BaseException:
        private_key.unlink()
        raise
    data = {"key_id": name, "state": "in force", "private_key": str(private_key)}
    shown = pem.decode().splitlines() if show else ()
    return _folder_written(parts, folder, data, f"{name} is published; its private key is in {private_key}", *shown)


@app.command()
@command
def publish(
    parts: Parts,
    key_id: Annotated[
        str | None, typer.Argument(metavar="[KEY-ID]", help="The service's name, a / and the key's.")
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The public key of a service that made its own key, as PEM.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the log for good.")] = "",
    folder: Folder = None,
    by: By = "",
) -> Report:
    """Publish the public key of a service that has its own private key. Without KEY-ID: write the folder again."""
    if (key_id is None) != (public_key is None):
        raise UsageError(problem("service-key-arguments"))
    text = []
    if key_id is not None and public_key is not None:
        _publish(parts, _name(key_id), _read_public(public_key), by, checked_reason(reason))
        text = [f"{key_id} is published"]
    return _folder_written(parts, folder, {"key_id": key_id}, *text)


@app.command("list")
@command
def list_(parts: Parts) -> Report:
    """List all keys, with operator, time and reason of their publication and revocation."""
    keys = [_to_dict(key) for key in service_keys_of(parts).all().values()]
    rows = [[value for name, value in key.items() if name != "public_key"] for key in keys]
    columns = ("key", "state", "published", "by", "why", "revoked", "by", "why")
    return Report(keys, [table("Service keys", columns, rows)])


@app.command()
@command
def revoke(parts: Parts, key_id: KeyName, reason: Reason, folder: Folder = None, by: By = "") -> Report:
    """Revoke a key for good. Its name is not used again."""
    service_keys_of(parts).record(
        partial(service_keys.revoke, key_id=key_id, operator=by, reason=reason), by=Operator.parse(by)
    )
    line = f"{key_id} is revoked: every service refuses it within its lease, or 30 s where it reads a repository"
    return _folder_written(parts, folder, {"key_id": key_id, "state": "revoked"}, line)


def _publish(parts: Parts, key_id: str, public_key: str, by: str, because: str) -> None:
    decide = partial(service_keys.publish, key_id=key_id, public_key=public_key, operator=by, reason=because)
    service_keys_of(parts).record(decide, by=Operator.parse(by))


def _name(key_id: str) -> str:
    try:
        name = check_name(key_id, "the key's name")
    except Refused as error:
        raise UsageError(str(error)) from None
    if "/" not in name:
        raise UsageError(problem("service-key-name", name=name))
    return name


def _pem(key: PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _read_public(file: Path) -> str:
    try:
        return _pem(load_public_key(file.read_bytes()))
    except OSError as error:
        raise UsageError(problem("service-key-file-unreadable", file=file, reason=error.strerror)) from None
    except UnusableKey as error:
        raise UsageError(problem("service-key-file-invalid", file=file, reason=error)) from None


def _write_private(file: Path, pem: bytes) -> None:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as private:
            private.write(pem)
    except OSError as error:
        raise UsageError(problem("service-key-file-unwritable", file=file, reason=error.strerror)) from None


def _folder_written(parts: Parts, folder: Path | None, data: Mapping[str, object], *text: str) -> Report:
    """Write the folder and report; not good where the folder has files that are no published keys."""
    where = folder or parts.settings.data_dir / "service-keys"
    try:
        unknown_files = [str(file) for file in write_folder(where, service_keys_of(parts).all())]
    except OSError as error:
        raise UsageError(problem("service-key-folder-unwritable", where=where, reason=error.strerror)) from None
    notes = [
        error_line(f"{file} is a key that was never published here: remove it, or publish it") for file in unknown_files
    ]
    return Report({**data, "unknown_files": unknown_files}, text, notes, good=not unknown_files)


def write_folder(folder: Path, keys: Mapping[str, ServiceKey]) -> list[Path]:
    """Writes the keys in force, removes the revoked ones, and returns the files that are neither. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for key in keys.values():
        file = folder / f"{key.key_id}.pem"
        if key.revoked_at is not None:
            file.unlink(missing_ok=True)
        elif not file.exists() or file.read_text() != key.public_key:
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_suffix(f".{os.getpid()}.new")
            beside.write_text(key.public_key)
            beside.replace(file)
    ours = {folder / f"{key.key_id}.pem" for key in keys.values()}
    return sorted(set(folder.rglob("*.pem")) - ours)


def _to_dict(key: ServiceKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "state": "revoked" if key.revoked_at else "in force",
        "public_key": key.public_key,
        "published_at": key.published_at,
        "published_by": key.published_by,
        "reason": key.reason,
        "revoked_at": key.revoked_at,
        "revoked_by": key.revoked_by,
        "revoked_reason": key.revoked_reason,
    }
