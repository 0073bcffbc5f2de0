"""Export of the log to files, and import of another installation's log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from adapters.postgres.past import time_of
from audit.checkpoints import Note
from audit.export import Choice
from audit.export import export as write_export
from audit.export import export_keys as write_keys
from audit.export_budget import WHAT, ExportBudget, UnderGrant, WithoutGrant
from audit.importing import Imported, import_log
from cli.command import command
from cli.output import Aside, Report, speed
from cli.progress import progress
from domain.errors import UsageError, problem
from domain.export_grants import ExportRequest
from runtime.compose import Parts
from runtime.compose.audit import exported_keys_of, log_copy_of, log_import_of, seal_keys_of
from runtime.compose.operators import export_grants_of
from runtime.proposal import account

Out = Annotated[Path, typer.Argument(metavar="OUT", help="A file, for Parquet a folder; it must not exist yet.")]


@command
def export(
    parts: Parts,
    path: Out,
    form: Annotated[Literal["parquet", "jsonl", "csv"], typer.Option("--format", help="Form of the output.")] = "jsonl",
    tenant: Annotated[str | None, typer.Option(help="Only the events of this tenant.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="TIME", help="Only events recorded at or after this time: a time with its zone, or a day."
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="TIME", help="Only events recorded before this time; a day is its beginning, in UTC."
        ),
    ] = None,
    with_proofs: Annotated[
        bool, typer.Option("--with-proofs", help="Add to each event its proof for the newest checkpoint.")
    ] = False,
    grant: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The grant to export under; needed beyond TENANTRY_EXPORT_WITHOUT_GRANT events."
        ),
    ] = None,
) -> Report:
    """Write the log as it is stored to a file, or a folder of Parquet. Personal fields stay encrypted.

    OUT appears when it is complete. A manifest beside it describes its contents.
    """
    choice = Choice(form, tenant, time_of(since) if since else None, time_of(until) if until else None, with_proofs)
    with progress("exporting") as say:
        exported = write_export(log_copy_of(parts), path, choice, budget=_budget(parts, grant, tenant), say=say)
    manifest = exported.manifest
    reach = f", positions {manifest.first} to {manifest.last}" if manifest.events else ""
    return Report(
        {"path": str(path), **manifest.model_dump(mode="json"), **speed(exported)},
        [f"{manifest.events} events{reach}, in {path} ({exported.rate:,.0f} a second)"],
    )


def _budget(parts: Parts, grant: str | None, tenant: str | None) -> ExportBudget:
    if grant is None:
        return WithoutGrant(parts.settings.export_without_grant, account())
    return UnderGrant(export_grants_of(parts), ExportRequest(grant, account(), WHAT, tenant))


@command
def export_keys(
    parts: Parts, path: Annotated[Path, typer.Argument(metavar="OUT", help="A file; it must not exist yet.")]
) -> Report:
    """Write the data keys of all customers, wrapped by the master key, for another installation with that master key.

    Export the keys after the log. A reader with these keys and the master key can read all personal data.
    """
    count = write_keys(log_copy_of(parts), path)
    text = [f"{count} keys in {path}, wrapped: keep them apart from the master key"]
    return Report({"path": str(path), "keys": count}, text)


@command
def import_(
    parts: Parts,
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file that `tenantry audit export --format jsonl` wrote.")
    ],
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The file that `tenantry audit export-keys` wrote, under the same master key."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A checkpoint of the other installation that you kept elsewhere."),
    ] = None,
) -> Report:
    """Import the log of another installation into this empty store: all of it or nothing, with its positions and ids.

    The events must be those that the checkpoint in the manifest attests, and the checkpoint that you give.
    Without --keys every customer in it counts as forgotten here.
    """
    with progress("importing") as say:
        imported = import_log(
            log_import_of(parts),
            path,
            keys=exported_keys_of(parts, keys) if keys else None,
            keyring=seal_keys_of(parts),
            checkpoint=kept_checkpoint(checkpoint) if checkpoint else None,
            say=say,
        )
    data = {
        "events": imported.events,
        "position": imported.position,
        "keys": imported.keys,
        "without_keys": imported.without_keys,
        "attested": imported.attested,
        **speed(imported),
    }
    text = (
        f"{imported.events} events up to position {imported.position} ({imported.rate:,.0f} a second),"
        f" {imported.attested} of them as a checkpoint attests: run"
        " `tenantry audit seal`, then `tenantry audit verify --checkpoint FILE` with the other's checkpoint"
    )
    return Report(data, [text], map(Aside, _doubts(imported)))


def _doubts(imported: Imported) -> Iterator[str]:
    if imported.unknown_keys:
        yield (
            f"the checkpoint of the export is signed by {', '.join(imported.unknown_keys)}, none of the seal keys: its"
            " signature was not checked; add the other's public key to them (`tenantry audit checkpoint key` there)"
        )
    if imported.without_keys:
        yield f"{imported.without_keys} keys were not imported: the fields that they encrypt are read as forgotten"


def kept_checkpoint(path: Path) -> Note:
    """The checkpoint in the file. Raises UsageError where it cannot be read."""
    try:
        return Note.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(problem("checkpoint-unreadable", path=path, reason=error.strerror)) from None
    except UnicodeDecodeError:
        raise UsageError(problem("checkpoint-no-text", path=path)) from None
