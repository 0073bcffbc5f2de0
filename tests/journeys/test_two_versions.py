"""Two versions at work side by side, under load, with the migration between them: nothing halts, and nothing is lost.

The older version is a commit of this repository, from before metrics and the console: its checkout is taken from the
history, and runs in the same environment. The order is that of an upgrade by hand:

    older workers ─────────────────────────────────────────────────────────▶ drain
             newer workers wait ──▶ `tenantry migrate` ──▶ both are at work ──▶ newer ones alone
    messages ─────────────────────────────────────────────────────────────────────────────▶ the oracle judges
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.postgres import overview
from adapters.postgres.schema_revision import known_revisions
from tests.journeys.running import ROOT, environment, tenantry_process, wait_for
from tests.outages.installation import Installation, told

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(600)]

OLDER: Final = "708df11d436f429999641a4c5af83f1b5760db28"
"""The last commit without metrics and a console; its tables are at revision 0015."""

KINDS: Final = ("intake", "projector", "contexts", "provisioner", "relay")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the older version."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    archived = subprocess.run([git, "archive", OLDER], cwd=ROOT, capture_output=True, check=False)
    if archived.returncode:
        pytest.skip(f"this checkout has no commit {OLDER}: {archived.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Newer:
    """The workers of this version, each a process that was started alone."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.data_dir = installation.up.data_dir.with_name("newer")
        self.data_dir.mkdir()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Newer:
        for kind in KINDS:
            with (self.data_dir / f"{kind}.log").open("ab") as log:
                self._processes[kind] = subprocess.Popen(
                    [sys.executable, "-m", "cli.main", kind, "--data-dir", str(self.data_dir)],
                    env=environment(self._installation.up.settings),
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(30)

    def pids(self) -> set[int]:
        return {process.pid for process in self._processes.values()}

    def ended(self) -> list[str]:
        return [kind for kind, process in self._processes.items() if process.poll() is not None]

    def log(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.data_dir / f"{kind}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


class Upgrade:
    """An installation whose `up` is of the older version, and what is seen of all workers."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.url = installation.database.direct("control")

    def workers(self) -> dict[int, dict[str, Any]]:
        return {row["pid"]: row for row in overview.status(self.url)["workers"]}

    def taken_in(self) -> list[int]:
        """How many messages each intake has taken in."""
        rows = [row for row in self.workers().values() if row["kind"] == "intake"]
        return [sum(row["details"].get("counts", {}).values()) for row in rows]

    def all_in(self, state: str, pids: set[int]) -> Callable[[], bool]:
        def look() -> bool:
            rows = self.workers()
            return all(pid in rows and rows[pid]["state"] == state for pid in pids)

        return look

    def halted(self) -> list[Any]:
        return [row for row in overview.status(self.url)["projections"] if row["halted"]]

    def goes_on(self) -> None:
        """Each kind of worker comes further, and no projection halts."""
        before = self.installation.progress()
        stands = {"intake", "projector", "provisioner", "relay"}

        def look() -> bool:
            after = self.installation.progress()
            stands.difference_update({name for name in stands if after[name] > before[name]})
            return not stands

        try:
            wait_for(look, "each kind of worker to come further")
        except AssertionError:
            waits = {row["name"]: row["details"].get("waits") for row in self.workers().values()}
            raise AssertionError(f"{stands} do not come further; {waits}") from None
        assert not self.halted()

    def errors(self, *more: Path) -> list[str]:
        """What any worker has logged as an error."""
        lines = [line for path in (*self.installation.logs(), *more) for line in path.read_text().splitlines()]
        return [line for line in lines if '"level": "error"' in line or "Traceback" in line]


@pytest.fixture
def upgrade(older: Path) -> Iterator[Upgrade]:
    with Installation(rate=4, root=older) as installation:
        yield Upgrade(installation)


def test_two_versions_side_by_side_with_the_migration_between_them_lose_nothing_and_nobody_halts(
    upgrade: Upgrade,
) -> None:
    installation = upgrade.installation
    [before] = installation.rows("SELECT version_num FROM alembic_version")
    assert before == ("0015",)
    of_old = {installation.worker(kind) for kind in ("intake", "projector", "provisioner", "relay")}
    with ExitStack() as closing:
        load = closing.enter_context(installation.load())
        newer = closing.enter_context(Newer(installation))
        wait_for(upgrade.all_in("starting", newer.pids()), "the newer workers to wait")
        upgrade.goes_on()
        assert newer.ended() == []
        for row in (upgrade.workers()[pid] for pid in newer.pids()):
            assert [waits["why"] for waits in row["details"]["waits"]] == ["not-migrated"], row
        waiting = {each["worker"]: each["why"] for each in installation.up.json("status")["waits"]}
        assert [*waiting.values()].count("not-migrated") == len(KINDS), waiting
        assert [line["why"] for line in newer.log("relay") if "waits" in line["event"]] == ["not-migrated"]

        migrated = tenantry_process("migrate", "--json", "--data-dir", newer.data_dir, env=installation.up.settings)
        assert (migrated.exit_code, migrated.value) == (0, {"before": "0015", "after": known_revisions()[-1]}), migrated
        wait_for(upgrade.all_in("ready", newer.pids() | of_old), "both versions to be at work")
        upgrade.goes_on()
        assert upgrade.all_in("ready", newer.pids() | of_old)()
        wait_for(lambda: all(upgrade.taken_in()) and len(upgrade.taken_in()) == 2, "both intakes to take messages")

        assert installation.up.stop() == 0
        assert newer.ended() == []
        assert set(upgrade.workers()) == newer.pids()
        load.__exit__()
        installation.settles(load, seconds=90)
        assert not upgrade.halted()
        assert [told(each) for each in installation.disagreements()] == []
        assert installation.unaccounted() == []
        wait_for(
            lambda: not any(row["details"].get("waits") for row in upgrade.workers().values()),
            "all to have what they wait for",
        )
        assert upgrade.errors(*newer.data_dir.glob("*.log")) == []
