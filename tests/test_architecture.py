"""Do the rooms of the house keep to themselves?

The contracts are in pyproject.toml. The linter runs as a process of its own, in the tree it judges: here the
packages are imported already, and it would find those instead of a copy.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from adapters.resources.executors import Outside, executors
from adapters.resources.topology import Shard, Topology
from domain.catalog import default_catalog
from domain.commands import COMMANDS
from domain.event import Event
from domain.event_registry import REGISTRY
from domain.scope.steps import SCOPE_STEPS
from projections import INTEGRATION, PROJECTIONS
from projections.contexts import HANDLED
from tests.scratch_walk import plant

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "domain",
    "application",
    "projections",
    "adapters",
    "runtime",
    "access",
    "workers",
    "history",
    "audit",
    "context",
    "cli",
    "console",
    "demo",
)


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache", "--no-logo"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "join_contract.py", tmp_path / "tests")
    client = ROOT / "clients" / "python" / "tenantry_client"
    shutil.copytree(client, tmp_path / "tenantry_client", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_imports_go_down_only() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("domain/planted.py", "psycopg", "The domain and the application services talk to nothing"),
        ("application/planted.py", "structlog", "The domain and the application services talk to nothing"),
        ("domain/planted.py", "application", "Imports go down only"),
        ("history/planted.py", "audit", "Imports go down only"),
        ("domain/planted.py", "projections", "Imports go down only"),
        ("adapters/planted.py", "projections", "Adapters know no read model"),
        ("runtime/telemetry.py", "adapters", "Settings and telemetry know no adapter and no read model"),
        ("cli/status.py", "projections", "Only runtime.compose joins adapters and projections"),
        ("workers/supervisor.py", "projections", "Only runtime.compose joins adapters and projections"),
        ("tenantry_client/asap/planted.py", "domain", "The client knows nothing of the engine"),
        ("workers/planted.py", "kafka", "Workers, history and commands never touch a driver"),
        ("demo/planted.py", "psycopg", "Workers, history and commands never touch a driver"),
    ],
)
def test_breaking_a_contract_fails(copy: Path, module: str, forbidden: str, contract: str) -> None:
    assert lint_imports(copy).returncode == 0
    with (copy / module).open("a") as file:
        file.write(f"\nimport {forbidden}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert contract in result.stdout
    assert "BROKEN" in result.stdout
    assert module.removesuffix(".py").replace("/", ".") in result.stdout


def test_every_room_is_in_the_wheel_and_under_the_linters() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tuple(config["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES
    assert tuple(config["importlinter"]["root_packages"]) == (*PACKAGES, "tenantry_client")
    assert set(config["mypy"]["packages"]) == {*PACKAGES, "examples", "benchmarks", "tenantry_client", "tests"}


def test_no_file_has_more_than_400_lines_and_no_function_more_than_70() -> None:
    too_long = []
    for file in (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))):
        text = file.read_text()
        if (lines := text.count("\n")) > 400:
            too_long.append(f"{file.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 70:
                    too_long.append(f"{file.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert too_long == []


def test_each_step_of_each_scope_has_an_executor() -> None:
    topology = Topology([Shard(name="eu-1", region="eu", url="")], default_region="eu")
    there = Outside(lambda: psycopg.connect(""), topology, default_catalog(), "tenantry.example", bytes(32))
    found = executors(there)
    assert set(found) == {(kind, step) for kind, steps in SCOPE_STEPS.items() for step in steps}


def test_each_event_is_projected_or_named_as_ignored() -> None:
    named = {name for entry in REGISTRY for name in entry.projected_by}
    assert named == {"contexts", *(projection.name for projection in (*PROJECTIONS, INTEGRATION))}
    handled = HANDLED.union(*(projection.handles for projection in (*PROJECTIONS, INTEGRATION)))
    assert {entry.event for entry in REGISTRY if not entry.ignored} == handled


def test_adding_an_event_or_a_command_is_one_class_and_one_line(
    copy: Path, migrated_database: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plant(copy)
    folder = tmp_path_factory.mktemp("scratch")
    result = subprocess.run(
        [sys.executable, "-m", "tests.scratch_walk", migrated_database, str(folder)],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    stored = seen.pop("stored")
    assert "tenantry.scratch-noted" in stored
    assert "Ada Lovelace" not in stored
    assert seen == {
        "comes back": True,
        "encrypted": 1,
        "exported": 1,
        "faults": 0,
        "lags": [0],
        "halted": False,
        "timeline": ["operator", "scratch noted", "customer id c-1, reason a test, colour red"],
        "act": ["scratch noted", "a test", {"customer_id": "c-1", "colour": "red"}],
        "command": "PauseProduct",
        "schema": True,
    }


def concrete(cls: type[Event]) -> Iterator[type[Event]]:
    for each in cls.__subclasses__():
        yield from concrete(each)
        if "TOPIC" in vars(each) and each.__module__.startswith("domain."):
            yield each


def test_each_event_of_the_domain_is_in_the_registry() -> None:
    assert set(concrete(Event)) == REGISTRY.events


def test_each_command_of_the_wire_has_a_committed_schema() -> None:
    assert {path.stem for path in (ROOT / "docs" / "schemas").glob("*.json")} == set(COMMANDS)


# -- output -------------------------------------------------------------------------------------------------------

PRINTERS = {
    "cli/output.py",
    "cli/progress.py",
    "runtime/telemetry.py",
    "runtime/settings_reference.py",
    "cli/error_reference.py",
}
"""The files that may touch the streams of the process: the renderer, its bars, the log, and tools of the Makefile."""

_PRINTING_MODULES = {"rich", "click", "getpass", "readline", "curses", "colorama"}
_PRINTING_NAMES = {"print", "input", "breakpoint", "help"}
_TYPER_NAMES = {"echo", "secho", "style", "prompt", "confirm", "progressbar", "launch"}


def ways_around(code: str) -> Iterator[str]:
    """What in a module prints, or could print, without the renderer."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name.split(".")[0] in _PRINTING_MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                found = {each.name for each in names}
                if module.split(".")[0] in _PRINTING_MODULES:
                    yield module
                elif module in ("sys", "typer", "os"):
                    forbidden = {"stdout", "stderr", "__stdout__", "__stderr__", "write"} | _TYPER_NAMES
                    yield from (f"{module}.{name}" for name in found & forbidden)
            case ast.Attribute(
                value=ast.Name(id="sys"), attr=("stdout" | "stderr" | "__stdout__" | "__stderr__") as name
            ):
                yield f"sys.{name}"
            case ast.Attribute(value=ast.Name(id="typer"), attr=name) if name in _TYPER_NAMES:
                yield f"typer.{name}"
            case ast.Attribute(value=ast.Name(id="os"), attr="write"):
                yield "os.write"
            case ast.Call(func=ast.Name(id=name)) if name in _PRINTING_NAMES:
                yield name
            case ast.Call(func=ast.Attribute(attr="exact") | ast.Name(id="Exact"), args=[argument]) if (
                not _is_a_form_of_ours(argument)
            ):
                yield "exact"


_EXACT = ("str(note)", "verifier", "_json(found, comparison)")
"""What is printed as it is: signed checkpoints, keys, and JSON by `json_text`."""


def _is_a_form_of_ours(argument: ast.expr) -> bool:
    return any(form in ast.unparse(argument) for form in _EXACT)


@pytest.mark.parametrize(
    "code",
    [
        "print(tenant)",
        "import rich",
        "from rich.console import Console",
        "from rich import print as say",
        "import sys\nsys.stdout.write(reason)",
        "from sys import stderr",
        "import typer\ntyper.echo(reason)",
        "from typer import secho",
        "import click",
        "import os\nos.write(1, reason)",
        "out.exact(reason)",
        "Exact([reason])",
    ],
)
def test_a_way_around_the_renderer_is_found(code: str) -> None:
    assert list(ways_around(code))


def test_everything_that_is_printed_goes_through_the_renderer() -> None:
    allowed = {
        ("runtime/proposal.py", "getpass"),  # the name of the account alone
        ("adapters/files/worker_cards.py", "os.write"),  # to a file
        ("audit/evidence_verifier.py", "sys.stdout"),  # a program of its own, apart from us
    }
    found = {
        (str(path.relative_to(ROOT)), way)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if str(path.relative_to(ROOT)) not in PRINTERS
        for way in ways_around(path.read_text())
    }
    assert found == allowed


def test_the_renderer_itself_shows_foreign_text_in_one_place() -> None:
    code = (ROOT / "cli" / "output.py").read_text()
    assert code.count("visible(") == 1, "Terminal.text is the one place"
    assert "markup=False, emoji=False, highlight=False" in code
