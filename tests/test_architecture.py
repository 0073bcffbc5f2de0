"""Do the rooms of the house keep to themselves?

The contracts are in pyproject.toml. The linter runs as a process of its own, in the tree it judges: here the
packages are imported already, and it would find those instead of a copy.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import psycopg
import pytest

from adapters.event_mapper import EVENTS
from adapters.steps import executors
from adapters.topology import Shard, Topology
from domain.catalog import default_catalog
from domain.commands import COMMANDS
from domain.steps import SCOPE_STEPS
from projections import IGNORED, INTEGRATION, PROJECTIONS

ROOT = Path(__file__).parent.parent
PACKAGES = ("domain", "projections", "adapters", "runtime", "workers", "history", "cli")


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
    return tmp_path


def test_imports_go_down_only() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("domain/planted.py", "psycopg", "The domain talks to nothing"),
        ("domain/planted.py", "projections", "Imports go down only"),
        ("adapters/planted.py", "projections", "Imports go down only"),
        ("runtime/telemetry.py", "adapters", "Only runtime.bootstrap joins adapters and projections"),
        ("workers/planted.py", "kafka", "Workers, history and commands never touch a driver"),
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
    assert set(config["mypy"]["packages"]) == {*PACKAGES, "tenantry_client", "tests"}


def test_each_step_of_each_scope_has_an_executor() -> None:
    found = executors(
        control=lambda: psycopg.connect(""),
        topology=Topology([Shard(name="eu-1", region="eu", url="")], default_region="eu"),
        catalog=default_catalog(),
        site_domain="tenantry.example",
        master_key=bytes(32),
    )
    assert set(found) == {(kind, step) for kind, steps in SCOPE_STEPS.items() for step in steps}


def test_each_event_is_projected_or_named_as_ignored() -> None:
    handled = {event for projection in (*PROJECTIONS, INTEGRATION) for event in projection.handles}
    assert handled | set(IGNORED) == set(EVENTS)
    assert not handled & set(IGNORED)


def test_each_command_of_the_wire_has_a_committed_schema() -> None:
    assert {path.stem for path in (ROOT / "docs" / "schemas").glob("*.json")} == set(COMMANDS)
