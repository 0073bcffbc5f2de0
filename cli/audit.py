"""How does an auditor see that the log is what it was?"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from audit.checkpoints import Note, key_ids
from audit.verification import Verified
from cli import audit_intake, check, settled
from cli import export as exports
from cli.held_checkpoint import held_checkpoint
from cli.output import AsJson, DataDir, command, err, out, print_json, running_parts, settings_of, table
from cli.progress import progress
from domain.errors import UsageError
from runtime.compose import Parts
from runtime.compose.audit import last_signed_of, seal_keys_of, seal_of, verification_of
from runtime.seal_keys import load_seal_keys

app = typer.Typer(
    help="Show that the log is what it was: seal it, verify it, prove single events of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
checkpoint = typer.Typer(
    help="What is signed about the log, to be held elsewhere.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(checkpoint, name="checkpoint")
app.command()(check.log)
app.command()(check.views)
app.command()(settled.scopes)
app.command()(audit_intake.intake)
app.command()(exports.export)
app.command()(exports.export_keys)


@app.command()
@command
def seal(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Seal what was recorded since the last seal, and sign a checkpoint.

    May be killed, run again and run twice at once: it goes on where the last batch was committed.
    """
    with running_parts(data_dir) as parts, progress("sealing") as say:
        keys, sealed = seal_keys_of(parts), seal_of(parts).seal(say)
    if keys.signer is None:
        err.print("no seal key is set, the checkpoint is unsigned: set TENANTRY_SEAL_KEY_FILE", highlight=False)
    if as_json:
        print_json(
            {
                "events": sealed.events,
                "seconds": round(sealed.seconds, 3),
                "rate": round(sealed.rate, 1),
                "signed": sealed.note is not None and keys.standing(sealed.note) == "signed",
                "checkpoint": _as_json(sealed.note),
            }
        )
    elif sealed.note is None:
        out.print("the log is empty: there is nothing to seal")
    else:
        newest = sealed.note.checkpoint
        new = f", {sealed.events} of them new ({sealed.rate:,.0f} a second)" if sealed.events else ", none of them new"
        out.print(f"{newest.size} events sealed up to position {newest.position}{new}", highlight=False)


@app.command()
@command
def verify(
    held: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="A checkpoint that was held elsewhere: finds a log cut off."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compute the seal anew from the stored events, and name every position that does not fit. Exit 1 if any.

    Without --checkpoint the log is held against the one that was signed on this machine last, where it is kept.
    """
    outside = held_checkpoint(held) if held else None
    with running_parts(data_dir) as parts, progress("verifying") as say:
        if outside is None:
            outside = _kept(parts)
        verified = verification_of(parts, say).verify(outside)
    if as_json:
        print_json(_verified_as_json(verified))
    else:
        _show(verified)
    if verified.findings:
        raise typer.Exit(1)


@app.command()
@command
def prove(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its id or its position; an id takes a while to find.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove to somebody who holds a checkpoint that one event is in the log (RFC 9162, inclusion)."""
    with running_parts(data_dir) as parts, progress("looking for the event") as say:
        proof = seal_of(parts).prove(_event(event), say)
    value = {
        "position": proof.position,
        "index": proof.index,
        "size": proof.note.checkpoint.size,
        "leaf": _text(proof.leaf),
        "leaf_hash": _text(proof.leaf_hash),
        "path": [_text(hash_) for hash_ in proof.path],
        "checkpoint": str(proof.note),
    }
    if as_json:
        print_json(value)
    else:
        del value["leaf"]
        _show_proof(f"The event at position {proof.position} is leaf {proof.index} of the log", value)


@app.command()
@command
def consistency(
    old: Annotated[int, typer.Argument(metavar="A", help="How many events the older checkpoint has.")],
    new: Annotated[int, typer.Argument(metavar="B", help="How many the newer one has.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove that the log of A events only grew to be that of B (RFC 9162, consistency)."""
    with running_parts(data_dir) as parts:
        proof = seal_of(parts).consistency(old, new)
    value = {
        "old": proof.old,
        "new": proof.new,
        "old_root": _text(proof.old_root),
        "new_root": _text(proof.new_root),
        "path": [_text(hash_) for hash_ in proof.path],
    }
    if as_json:
        print_json(value)
    else:
        _show_proof(f"The log of {new} events begins with that of {old}", value)


@checkpoint.command()
@command
def export(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the newest checkpoint (c2sp.org/tlog-checkpoint). Keep it where nobody of the database can reach it."""
    with running_parts(data_dir) as parts:
        note, keys = seal_of(parts).newest(), seal_keys_of(parts)
    if not note.signatures:
        raise UsageError("the newest checkpoint is unsigned: set TENANTRY_SEAL_KEY_FILE and run `tenantry audit seal`")
    if keys.signer is not None and not keys.signed_by_the_newest(note):
        err.print("signed by an older key: run `tenantry audit seal` for the newest", highlight=False)
    if as_json:
        print_json(_as_json(note))
    else:
        out.exact(str(note))


@checkpoint.command()
@command
def key(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the public keys by which checkpoints are verified (c2sp.org/signed-note)."""
    verifiers = load_seal_keys(settings_of(data_dir)).verifiers
    if not verifiers:
        raise UsageError("no seal key is set: set TENANTRY_SEAL_KEY_FILE; `tenantry up` makes one for embedded parts")
    if as_json:
        print_json({"keys": [str(verifier) for verifier in verifiers]})
    else:
        out.exact("".join(f"{verifier}\n" for verifier in verifiers))


# -- what goes in and comes out ------------------------------------------------------------------------------------


def _event(text: str) -> int | UUID:
    """A position or an id."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text} is neither an event's id nor its position: give one of the two") from None


def _kept(parts: Parts) -> Note | None:
    """What was signed here last, if it counts."""
    note = last_signed_of(parts).read()
    keys = seal_keys_of(parts)
    return note if note and (not keys.verifiers or keys.standing(note) == "signed") else None


def _text(hash_: bytes) -> str:
    return b64encode(hash_).decode()


def _as_json(note: Note | None) -> dict[str, Any] | None:
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


def _verified_as_json(verified: Verified) -> dict[str, Any]:
    return {
        "whole": not verified.findings,
        "events": verified.events,
        "position": verified.position,
        "checkpoints": verified.checkpoints,
        "signed": verified.signed,
        "unsealed": verified.unsealed,
        "seconds": round(verified.seconds, 3),
        "rate": round(verified.rate, 1),
        "findings": [
            {"kind": found.kind, "first": found.first, "last": found.last, "explanation": found.explanation}
            for found in verified.findings
        ],
        "more": verified.more,
    }


def _show(verified: Verified) -> None:
    if verified.findings:
        rows = [(found.first, found.last, found.kind, found.explanation) for found in verified.findings]
        out.print(table("Not as it was sealed", ("from position", "to", "what", "that is"), rows))
        if verified.more:
            out.print(f"and {verified.more} more", highlight=False)
    else:
        out.print(
            f"{verified.events} events up to position {verified.position} are as they were sealed"
            f" ({verified.rate:,.0f} a second); {verified.checkpoints} checkpoints fit",
            highlight=False,
        )
    if not verified.signed:
        err.print(
            "the newest checkpoint is not signed by a key that is set: this shows accidents, not who can write to the"
            " database",
            highlight=False,
        )
    if verified.unsealed:
        err.print(f"about {verified.unsealed} events are not sealed yet: run `tenantry audit seal`", highlight=False)


def _show_proof(title: str, value: dict[str, Any]) -> None:
    rows = [(name, each) for name, each in value.items() if not isinstance(each, list)]
    rows += [(f"path {number}", each) for number, each in enumerate(value["path"], 1)]
    out.print(table(title, ("what", "value"), rows))
