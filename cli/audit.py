"""Audit commands for the seal of the log: seal, verify, prove, checkpoints."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

import typer

from audit.checkpoints import Note, key_ids
from audit.verification import Verified
from cli import audit_intake, check, evidence
from cli import export as exports
from cli.command import DataDir, command, settings_of
from cli.export import kept_checkpoint
from cli.output import Aside, Exact, Line, Report, Table, and_more, pairs, speed, table
from cli.progress import progress
from domain.errors import UsageError, problem
from runtime.compose import Parts
from runtime.compose.audit import last_signed_of, seal_keys_of, seal_of, verification_of
from runtime.seal_keys import load_seal_keys

app = typer.Typer(
    help="Show that the log was not changed: seal it, verify it, prove single events.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
checkpoint = typer.Typer(
    help="Signed checkpoints of the log, to be kept elsewhere.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(checkpoint, name="checkpoint")
app.command()(check.log)
app.command()(check.views)
app.command()(check.scopes)
app.command()(audit_intake.intake)
app.command()(exports.export)
app.command()(exports.export_keys)
app.command()(evidence.evidence)


@app.command()
@command
def seal(parts: Parts) -> Report:
    """Seal the events that were recorded since the last seal, and sign a checkpoint.

    May be killed, run again and run twice at once: it continues after the last committed batch.
    """
    with progress("sealing") as say:
        keys, sealed = seal_keys_of(parts), seal_of(parts).seal(say)
    data = {
        "events": sealed.events,
        **speed(sealed),
        "signed": sealed.note is not None and keys.standing(sealed.note) == "signed",
        "checkpoint": _note(sealed.note),
    }
    text = "the log is empty: there is nothing to seal"
    if sealed.note is not None:
        newest = sealed.note.checkpoint
        new = f", {sealed.events} of them new ({sealed.rate:,.0f} a second)" if sealed.events else ", none of them new"
        text = f"{newest.size} events sealed up to position {newest.position}{new}"
    unsigned = Aside("no seal key is set, the checkpoint is unsigned: set TENANTRY_SEAL_KEY_FILE")
    return Report(data, [text], [unsigned] if keys.signer is None else ())


@app.command()
@command
def verify(
    parts: Parts,
    kept: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="A checkpoint that was kept elsewhere: shows whether the log was cut off.",
        ),
    ] = None,
) -> Report:
    """Compute the seal again from the stored events, and name every position that does not fit. Exit 1 if any.

    Without --checkpoint the log is compared with the checkpoint that was signed last on this machine, if it is kept.
    """
    outside = kept_checkpoint(kept) if kept else None
    with progress("verifying") as say:
        verified = verification_of(parts, say).verify(outside or _kept(parts))
    data = {
        "whole": not verified.findings,
        "events": verified.events,
        "position": verified.position,
        "checkpoints": verified.checkpoints,
        "signed": verified.signed,
        "not_sealed": verified.not_sealed,
        **speed(verified),
        "findings": [asdict(found) for found in verified.findings],
        "more": verified.more,
    }
    notes = [] if verified.signed else [UNSIGNED]
    if verified.not_sealed:
        notes.append(Aside(f"about {verified.not_sealed} events are not sealed yet: run `tenantry audit seal`"))
    text = _findings(verified) if verified.findings else [_as_sealed(verified)]
    return Report(data, text, notes, good=not verified.findings)


UNSIGNED: Final = Aside(
    "the newest checkpoint is not signed by a key that is set: this shows accidents, but not changes by a user with"
    " write access to the database"
)


def _findings(verified: Verified) -> Iterator[Line]:
    rows = [(found.first, found.last, found.kind, found.explanation) for found in verified.findings]
    yield table("Not as it was sealed", ("from position", "to", "what", "that is"), rows)
    yield from and_more(verified.more)


def _as_sealed(verified: Verified) -> str:
    return (
        f"{verified.events} events up to position {verified.position} are as they were sealed"
        f" ({verified.rate:,.0f} a second); {verified.checkpoints} checkpoints fit"
    )


@app.command()
@command
def prove(
    parts: Parts,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its id or its position; an id takes a while to find.")],
) -> Report:
    """Prove to the holder of a checkpoint that one event is in the log (RFC 9162, inclusion)."""
    with progress("looking for the event") as say:
        proof = seal_of(parts).prove(_event(event), say)
    data = {
        "position": proof.position,
        "index": proof.index,
        "size": proof.note.checkpoint.size,
        "leaf_hash": _text(proof.leaf_hash),
        "path": [_text(hash_) for hash_ in proof.path],
        "checkpoint": str(proof.note),
    }
    title = f"The event at position {proof.position} is leaf {proof.index} of the log"
    return Report({**data, "leaf": _text(proof.leaf)}, [_proof(title, data)])


@app.command()
@command
def consistency(
    parts: Parts,
    old: Annotated[int, typer.Argument(metavar="A", help="Number of events of the older checkpoint.")],
    new: Annotated[int, typer.Argument(metavar="B", help="Number of events of the newer checkpoint.")],
) -> Report:
    """Prove that the log of B events begins with the log of A events (RFC 9162, consistency)."""
    proof = seal_of(parts).consistency(old, new)
    data = {
        "old": proof.old,
        "new": proof.new,
        "old_root": _text(proof.old_root),
        "new_root": _text(proof.new_root),
        "path": [_text(hash_) for hash_ in proof.path],
    }
    return Report(data, [_proof(f"The log of {new} events begins with that of {old}", data)])


@checkpoint.command()
@command
def export(parts: Parts) -> Report:
    """Print the newest checkpoint (c2sp.org/tlog-checkpoint). Keep it out of reach of the database's administrators."""
    note, keys = seal_of(parts).newest(), seal_keys_of(parts)
    if not note.signatures:
        raise UsageError(problem("checkpoint-unsigned"))
    is_old = keys.signer is not None and not keys.signed_by_the_newest(note)
    older = Aside("signed by an older key: run `tenantry audit seal` for the newest")
    return Report(_note(note), [Exact([str(note)])], [older] if is_old else ())


@checkpoint.command()
@command
def key(data_dir: DataDir = None) -> Report:
    """Print the public keys by which checkpoints are verified (c2sp.org/signed-note)."""
    verifiers = [str(verifier) for verifier in load_seal_keys(settings_of(data_dir)).verifiers]
    if not verifiers:
        raise UsageError(problem("seal-key-unset"))
    return Report({"keys": verifiers}, [Exact(f"{verifier}\n" for verifier in verifiers)])


# -- input and output ----------------------------------------------------------------------------------------------


def _event(text: str) -> int | UUID:
    """A position or an id."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(problem("event-unnamed", text=text)) from None


def _kept(parts: Parts) -> Note | None:
    """The checkpoint that was signed here last, if one is kept."""
    note = last_signed_of(parts).read()
    keys = seal_keys_of(parts)
    return note if note and (not keys.verifiers or keys.standing(note) == "signed") else None


def _text(hash_: bytes) -> str:
    return b64encode(hash_).decode()


def _note(note: Note | None) -> dict[str, Any] | None:
    if note is None:
        return None
    found = note.checkpoint
    return {
        "origin": found.origin,
        "size": found.size,
        "root": _text(found.root),
        "position": found.position,
        "keys": list(key_ids(note)),
        "note": str(note),
    }


def _proof(title: str, data: dict[str, Any]) -> Table:
    plain = {name: each for name, each in data.items() if not isinstance(each, list)}
    return pairs(title, plain | {f"path {number}": each for number, each in enumerate(data["path"], 1)})
