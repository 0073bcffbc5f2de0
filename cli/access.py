"""Access commands: check and explanation of the allow-list; grants to export.

Exit codes: 0 the file is valid, or the call is allowed; 1 the call is refused; 2 the file or the input is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import export_grants
from cli.command import command
from cli.output import Report
from domain.errors import UsageError, problem
from tenantry_client.access.allow_list import METHODS, AllowList, Answer, InvalidAllowList

app = typer.Typer(
    help="Check and explain the allow-list; grant exports.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(export_grants.grant_export)
app.command()(export_grants.revoke_export)
app.command()(export_grants.exports)

File = Annotated[Path, typer.Option("--file", help="The allow-list.")]
Caller = Annotated[str, typer.Argument(help="The service that calls.")]
Callee = Annotated[str, typer.Argument(help="The service that is called.")]
Method = Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST ..., or COMMAND for a command by its name.")]
PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="The raw path as it is sent, or the command's name.")]

DEFAULT = Path("access.toml")
COMMAND = "COMMAND"


@app.command()
@command
def check(
    caller: Annotated[
        str | None, typer.Argument(help="The service that calls; without it only the file is checked.")
    ] = None,
    callee: Annotated[str | None, typer.Argument(help="The service that is called.")] = None,
    method: Annotated[str | None, typer.Argument(help="GET, POST ..., or COMMAND.")] = None,
    path: Annotated[str | None, typer.Argument(help="The raw path, or the command's name.")] = None,
    file: File = DEFAULT,
) -> Report:
    """Check that the file is valid, or that a call is allowed; for scripts. Exit 0: yes, 1: refused, 2: wrong file."""
    allow_list = _read(file)
    if caller is None:
        entries = len(allow_list.entries)
        return Report({"entries": entries}, [f"{file}: {entries} entries, good"])
    if callee is None or method is None or path is None:
        raise UsageError(problem("access-arguments"))
    allowed = _answer(allow_list, caller, callee, method, path).allowed
    return Report({"allowed": allowed}, good=allowed)


@app.command()
@command
def explain(caller: Caller, callee: Callee, method: Method, path: PathArgument, file: File = DEFAULT) -> Report:
    """Name the line that allows a call, or the reason why none does. Exit 0: allowed, 1: refused, 2: wrong file."""
    answer = _answer(_read(file), caller, callee, method, path)
    entry, outcome = answer.entry, "allowed" if answer.allowed else "refused"
    return Report(
        {
            "allowed": answer.allowed,
            "reason": answer.reason,
            "entry": entry.number if entry else None,
            "line": entry.line if entry else None,
            "allowed_by": answer.allowed_by,
        },
        [f"{outcome}: {file}: {answer.reason}"],
        good=answer.allowed,
    )


def _answer(allow_list: AllowList, caller: str, callee: str, method: str, path: str) -> Answer:
    if method == COMMAND:
        return allow_list.command(caller, callee, path)
    if method not in METHODS:
        raise UsageError(problem("access-method-unknown", method=method, methods=", ".join(sorted(METHODS))))
    return allow_list.route(caller, callee, method, path.encode(errors="surrogateescape").partition(b"?")[0])


def _read(file: Path) -> AllowList:
    try:
        return AllowList.read(file)
    except InvalidAllowList as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(problem("allow-list-unreadable", file=file, reason=error.strerror)) from None
    except UnicodeDecodeError:
        raise UsageError(problem("allow-list-not-utf8", file=file)) from None
