"""Common behaviour of all commands, from the options to the exit code.

A command is a function that returns a report, or yields several (cli/output.py). `command` gives it `--json` and, where
it works on the parts of a process, `--data-dir`; it prints the reports and turns errors into one line and an exit code.

    exit 0     all is well                           exit 130    Ctrl-C
    exit 1     a report is not good, or it failed    exit 141    the reader of standard output is gone
    exit 2     the input or a setting is wrong
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_args

import typer

from cli.output import ReaderGone, Report, complain, err, render, warn
from domain.errors import TenantryError, UsageError
from domain.problem_text import OUTER_TEXTS
from runtime.settings_error import SettingsError

if TYPE_CHECKING:  # the settings and the drivers are imported where they are needed: `--help` needs none
    from runtime.compose import Parts, Process
    from runtime.settings import Settings

READER_GONE: Final = 141
"""The exit code that a shell shows for a process that SIGPIPE ended."""

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where the embedded parts keep their data.", show_default=".tenantry"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


class Judged(NamedTuple):
    """The converter beside Typer's option in an annotation: it makes the command's value. Raises UsageError."""

    judge: Callable[[Any], Any]


def command(
    act: Callable[..., Report | Iterable[Report] | None], *, json_option: object = AsJson
) -> Callable[..., None]:
    """A command that returns its reports, or yields them as it finds them; each is printed by `render`.

    The command has `--json` where it reports, and `--data-dir` where it has a parameter `parts`: they are opened for it
    and closed when all is printed. Its errors become one line and an exit code, without a traceback.
    """
    signature = inspect.signature(act, eval_str=True)
    parameters = {**signature.parameters}
    works_on = parameters.pop("parts", None)
    if works_on is not None:
        parameters["data_dir"] = _option("data_dir", None, DataDir)
    if reports := signature.return_annotation not in (None, inspect.Signature.empty):
        parameters["as_json"] = _option("as_json", False, json_option)

    judges = [
        (name, each.judge)
        for name, parameter in parameters.items()
        for each in get_args(parameter.annotation)
        if isinstance(each, Judged)
    ]

    @wraps(act)
    def command(**given: Any) -> None:
        as_json = given.pop("as_json") if reports else False
        with _ending_well(), ExitStack() as opened:
            given |= {name: judge(given[name]) for name, judge in judges}
            if works_on is not None:
                running = running_parts if works_on.annotation.__name__ == "Parts" else running_process
                given["parts"] = opened.enter_context(running(given.pop("data_dir")))
            found = act(**given)
            if isinstance(found, Generator):
                opened.callback(found.close)  # the generator is closed before the parts are closed
            reported = (found,) if isinstance(found, Report) else found or ()
            if False in [render(report, as_json=as_json) for report in reported]:
                raise typer.Exit(1)

    command.__signature__ = inspect.Signature([*parameters.values()])  # type: ignore[attr-defined]
    command.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return command


def stream(act: Callable[..., Iterable[Report]]) -> Callable[..., None]:
    """A command whose reports are one JSON object a line."""
    return command(act, json_option=JsonLines)


def _option(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@contextmanager
def _ending_well() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        for each in error.problems:
            complain(each)
        raise typer.Exit(2) from None
    except TenantryError as error:
        says_itself = error.problem is None or error.problem.code in OUTER_TEXTS
        complain(str(error) if says_itself else _sentence(error))
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(130) from None
    except ReaderGone:
        raise typer.Exit(READER_GONE) from None


def _sentence(error: TenantryError) -> str:
    from application.problem_texts import sentence  # noqa: PLC0415 - most commands import no application service

    return sentence(error)


# -- the parts of a command -----------------------------------------------------------------------------------------


def settings_of(data_dir: Path | None) -> Settings:
    """The settings; a warning on stderr names each unknown TENANTRY_ variable of the environment."""
    from runtime.settings_layers import load_settings  # noqa: PLC0415
    from runtime.unknown_variables import unknown_variables  # noqa: PLC0415

    for problem in unknown_variables():
        warn(problem)
    return load_settings(data_dir=data_dir)


@contextmanager
def running_process(data_dir: Path | None) -> Iterator[Process]:
    """The addresses of the Tenantry that runs (or those that are set), for what needs no configuration and no log."""
    from runtime.compose.process import Process  # noqa: PLC0415
    from runtime.instance import endpoints  # noqa: PLC0415

    settings = settings_of(data_dir)
    with Process(settings, endpoints(settings)) as process:
        yield process


@contextmanager
def running_parts(data_dir: Path | None) -> Iterator[Parts]:
    """The parts of the Tenantry that runs (or of the addresses that are set), with the configuration that is adopted.

    A warning on stderr says that a file which is named here differs from it.
    """
    from runtime.compose import Parts  # noqa: PLC0415
    from runtime.instance import endpoints  # noqa: PLC0415

    settings = settings_of(data_dir)
    with Parts(settings, endpoints(settings), warn=lambda text: err.print(f"warning: {text}", style="yellow")) as parts:
        yield parts
