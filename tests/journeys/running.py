"""How does a journey drive a whole Tenantry from outside?

`Running` is one `tenantry up` in a process of its own. Events go in through Kafka; what came of them is seen through
the CLI, with psycopg as a product would connect, and in the tables. Every wait ends as soon as its condition holds and
has a bound that only a broken build reaches.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar, cast
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from typer.testing import CliRunner

from adapters.kafka.clients import KafkaPythonProducer
from adapters.resources.places import OUR_NAMES
from cli.main import app
from tests.journeys.events import Event, Raw, raws

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 90.0
"""Seconds, for what takes one or two on an idle machine."""

T = TypeVar("T")
Row = dict[str, Any]


def wait_for(look: Callable[[], T | None], what: str, *, seconds: float = PATIENCE) -> T:
    """The first truthy value that `look` returns; AssertionError after `seconds`, with what it saw last."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}; seen last: {seen!r}"
        time.sleep(pause)
        pause = min(pause * 1.3, 0.25)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def value(self) -> Any:
        """The one JSON value of `--json`."""
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line on stderr, without what a worker may log around it."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self
        assert "Traceback" not in self.stderr, self
        return lines[0]


def tenantry(*arguments: object, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Result:
    """Run a command in this process: what a command costs is mostly the start of Python."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], env=dict(env or {}), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def tenantry_process(*arguments: object, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Result:
    """Run a command as a person does, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, arguments)],
        env=environment(env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Result(ran.returncode, ran.stdout, ran.stderr)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours without any settings of the machine, and with the given ones."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TENANTRY_")}
    return {**ours, "PYTHONPATH": str(ROOT), **settings}


class Running:
    """One `tenantry up` on a data directory. May be killed and started again. `root` is the checkout that it runs."""

    def __init__(
        self,
        data_dir: Path,
        settings: Mapping[str, str] | None = None,
        *,
        module: str = "cli.main",
        root: Path = ROOT,
    ) -> None:
        self.data_dir = data_dir
        self.settings = dict(settings or {})
        self.module = module
        self.root = root
        self.said: dict[str, Any] = {}
        self._mark = uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._producer: KafkaPythonProducer | None = None
        self._connection: psycopg.Connection[Row] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill_everything()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.kill_everything()

    # -- the process --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start `up`, and wait until it says that it takes in work."""
        stderr = self.data_dir.with_suffix(".stderr")
        with stderr.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "up", "--json", "--data-dir", str(self.data_dir)],
                env={**environment(self.settings), "PYTHONPATH": str(self.root), "JOURNEY": self._mark},
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
            )
        assert self._process.stdout is not None
        seen, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if seen else b""
        assert line, f"`tenantry up` did not get ready: {stderr.read_text()[-2000:]}"
        self.said = json.loads(line)
        assert self.said["ready"] is True

    def stop(self, *, signals: Sequence[signal.Signals] = (signal.SIGTERM,)) -> int:
        """SIGTERM, as a service manager does, or several with half a second between them; the exit code."""
        self._let_go()
        if self._process is None:
            return 0
        for number, each in enumerate(signals):
            time.sleep(0.5 if number else 0)
            self._process.send_signal(each)
        return self._reap()

    def ended(self) -> int:
        """It ends by itself; the exit code."""
        self._let_go()
        return self._reap()

    def complaints(self) -> str:
        """All that `up` has said on stderr."""
        return self.data_dir.with_suffix(".stderr").read_text()

    def kill(self, kind: str) -> int:
        """kill -9 of the worker of that kind; its process id."""
        pid = self.pid_of(kind)
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_up(self) -> None:
        """kill -9 of `up` alone: nobody tells its workers, nor PostgreSQL."""
        self._let_go()
        assert self._process is not None
        self._process.kill()
        self._reap()

    def pid_of(self, kind: str) -> int:
        """The newest worker of the kind that is alive."""
        query = "SELECT pid FROM workers WHERE kind = %s ORDER BY started_at DESC"
        pids = [int(row["pid"]) for row in self.rows(query, kind)]
        return next(pid for pid in pids if pid in self.processes())

    def kill_everything(self) -> None:
        """kill -9 of `up`, its workers, the broker and PostgreSQL, in one go."""
        self._let_go()
        while alive := self.processes():
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.02)

    def processes(self) -> set[int]:
        """Everything alive that this `up` started, itself included; the embedded parts are known by their folder."""
        found = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with suppress(OSError):
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
                here = (entry / "cwd").readlink().is_relative_to(self.data_dir.resolve())
                if here or f"JOURNEY={self._mark}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
        return found

    def _reap(self) -> int:
        if self._process is None:
            return 0
        code = self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        return code

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    # -- in -----------------------------------------------------------------------------------------------------------

    def send(self, *events: Event | Raw) -> None:
        """Put the events on Kafka; they are there when this returns."""
        if self._producer is None:
            self._producer = KafkaPythonProducer(self.said["kafka_bootstrap"])
        for message in raws(events):
            self._producer.send(message.topic, key=message.key, value=message.value, headers=message.headers)
        self._producer.flush(PATIENCE)

    # -- out ----------------------------------------------------------------------------------------------------------

    def cli(self, *arguments: object, env: Mapping[str, str] | None = None) -> Result:
        """A command on this data directory."""
        return tenantry(*arguments, "--data-dir", self.data_dir, env={**self.settings, **(env or {})})

    def json(self, *arguments: object, env: Mapping[str, str] | None = None) -> Any:
        """What a command says with `--json`; it must succeed."""
        told = self.cli(*arguments, "--json", env=env)
        assert told.exit_code == 0, told
        return told.value

    def show(self, tenant: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.json("show", tenant))

    def rows(self, query: str, *parameters: object) -> list[Row]:
        """Look into the control database."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.said["database_url"], autocommit=True, row_factory=dict_row)
        return self._connection.execute(query.encode(), parameters).fetchall()

    def one(self, query: str, *parameters: object) -> Any:
        """The only column of the only row."""
        (row,) = self.rows(query, *parameters)
        (value,) = row.values()
        return value

    # -- waits --------------------------------------------------------------------------------------------------------

    def until_level(self, tenant: str, product: str, level: str, *, seconds: float = PATIENCE) -> None:
        """Wait for a product to have converged at a level, in the log and in the read models."""
        query = (
            "SELECT 1 AS found FROM provisionings"
            " WHERE tenant_id = %s AND kind = 'product' AND key = %s AND level = %s AND state = 'converged'"
        )
        wait_for(
            lambda: self.rows(query, tenant, product, level),
            f"{product} of {tenant} to be {level}",
            seconds=seconds,
        )
        self.until_settled(tenant)

    def until_settled(self, tenant: str = "", *, seconds: float = PATIENCE) -> None:
        """Wait until nothing is due or at work (of one tenant, if named), and the projections have read it all."""
        busy = (
            "SELECT (SELECT count(*) FROM wakes WHERE due_at <= now() AND position(%s in scope) > 0) AS due,"
            " (SELECT count(*) FROM leases WHERE position(%s in scope) > 0) AS leased,"
            " (SELECT count(*) FROM projection_positions WHERE position <"
            "  (SELECT coalesce(max(notification_id), 0) FROM stored_events)) AS behind"
        )
        wait_for(
            lambda: not any(self.rows(busy, tenant, tenant)[0].values()),
            f"{tenant or 'all tenants'} to settle",
            seconds=seconds,
        )

    def until_taken_in(self, *events: Event, seconds: float = PATIENCE) -> None:
        """Wait until the intake has dealt with the events, whatever became of them."""
        ids = [event.id for event in events]
        wait_for(
            lambda: self.one("SELECT count(*) FROM incoming WHERE id = ANY(%s)", ids) == len(set(ids)),
            f"{len(set(ids))} events to be taken in",
            seconds=seconds,
        )

    # -- shards -------------------------------------------------------------------------------------------------------

    def shard_url(self, database: str) -> str:
        """The owner's address of another database of the embedded server."""
        return make_conninfo(self.said["database_url"], dbname=database)

    def placement(self, tenant: str, family: str) -> Row:
        (row,) = self.rows("SELECT * FROM placements WHERE tenant_id = %s AND family = %s", tenant, family)
        return row

    def disagreements(self) -> list[str]:
        """Where the shards, the read models and the log do not agree; empty when all is well."""
        found = [
            f"{row['scope']} completed generation {row['generation']} {row['times']} times"
            for row in self.rows(
                "SELECT originator_id AS scope, convert_from(state, 'UTF8')::json -> 'data' ->> 'generation'"
                " AS generation, count(*) AS times FROM stored_events WHERE topic = 'tenantry.step-completed'"
                " GROUP BY 1, 2 HAVING count(*) > 1"
            )
        ]
        placed = self.rows("SELECT shard, database, schema_name, roles FROM placements")
        roles_told = {role["role"]: role["login"] for row in placed for role in row["roles"]}
        roles_there: dict[str, bool] = {}
        for shard in self.rows("SELECT name, used FROM shards"):
            told = {row["schema_name"] for row in placed if row["shard"] == shard["name"]}
            database = f"shard_{shard['name'].replace('-', '_')}"
            with psycopg.connect(self.shard_url(database)) as connection:
                there = {
                    name
                    for (name,) in connection.execute(
                        "SELECT nspname FROM pg_namespace WHERE nspname ~ %s", (OUR_NAMES,)
                    )
                }
                roles_there = dict(
                    connection.execute(
                        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ %s AND rolname LIKE 'r%%'",
                        (OUR_NAMES,),
                    ).fetchall()
                )
            found += [f"orphan schema {name} on {shard['name']}" for name in sorted(there - told)]
            found += [f"schema {name} missing on {shard['name']}" for name in sorted(told - there)]
            if shard["used"] != len(told):
                found.append(f"{shard['name']}: {shard['used']} places used, {len(told)} families there")
        found += [f"orphan role {name}" for name in sorted(set(roles_there) - set(roles_told))]
        found += [f"role {name} missing" for name in sorted(set(roles_told) - set(roles_there))]
        return found + [
            f"role {name}: may log in {roles_there[name]}, told {login}"
            for name, login in sorted(roles_told.items())
            if name in roles_there and roles_there[name] != login
        ]
