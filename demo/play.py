"""Command `tenantry demo`: it runs a realistic stream and checks every result.

`demo` starts everything on embedded parts in a directory of its own, whatever the environment and ./tenantry.toml say,
sends the stream wave by wave, shows the seven steps while they happen, and asks the oracle at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from sqlalchemy import text

from adapters.postgres import overview
from cli.command import AsJson, command
from cli.output import Terminal, err, out, print_json, table
from demo import access
from demo.entries import Entry, write
from demo.oracle import compare, expect
from demo.progress import screen
from demo.report import Report, totals, tour
from demo.settling import settled
from demo.stream import stream
from demo.watching import check_installed, console_beside, stay
from domain.errors import TenantryError, UsageError
from runtime.compose import Parts
from runtime.compose.kafka import producer_of
from runtime.compose.operators import quarantine_of
from runtime.settings import CONFIG_VARIABLE, PREFIX, Settings
from runtime.telemetry import configure_logging
from workers.supervisor import Supervisor

INPUT: Final = "input.jsonl"
GUARD: Final = 100_000
"""The budget of the destroy guard here: the stream has months of destroys and deactivations in one minute."""


@command
def demo(
    tenants: Annotated[
        int, typer.Option(min=1, max=5000, help="Number of tenants; each story is played at least once.")
    ] = 72,
    seed: Annotated[int, typer.Option(help="Each seed gives another stream.")] = 1,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="A new directory for the data; it is kept.", show_default="temporary"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data, and print how to start on it again.")] = False,
    console: Annotated[
        bool, typer.Option("--console", help="Show it in a browser as well, and stay until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a realistic stream through all workers, and check the result against an oracle.

    Exit code 0: all read models and all databases, schemas and roles are exactly as expected.
    """
    if console:
        check_installed()
    directory = _directory(data_dir)
    kept = keep or data_dir is not None
    try:
        with _surroundings(directory):
            report = _run(directory, tenants=tenants, seed=seed, show=not as_json, console=console)
    except TenantryError:
        kept = True
        err.print(f"the logs of the workers are in {directory / 'logs'}")
        raise
    finally:
        if not kept:
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        print_json(report.to_dict())
    elif kept:
        out.print(f"kept: start it again with `tenantry up --data-dir {directory}`")
    if not report.agreed:
        raise typer.Exit(1)


def _directory(data_dir: Path | None) -> Path:
    if data_dir is None:
        return Path(tempfile.mkdtemp(prefix="tenantry-demo-"))
    if data_dir.exists() and any(data_dir.iterdir()):
        raise UsageError(f"{data_dir} is not empty: the demo needs a directory of its own, name a new one")
    data_dir.mkdir(parents=True, exist_ok=True)
    return data_dir.absolute()


@contextmanager
def _surroundings(directory: Path) -> Iterator[None]:
    """No setting of this machine's may reach the demo or its workers: it must never touch a real database."""
    before = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    config = directory / "demo.toml"
    policy = directory / "demo-policy.toml"
    default = files("domain").joinpath("policy.toml").read_text()
    policy.write_text(default.replace("at_least = 5", f"at_least = {GUARD}"))
    config.write_text(f'log_level = "warning"\npolicy_file = {json.dumps(str(policy.absolute()))}\n')
    for name in before:
        del os.environ[name]
    os.environ[CONFIG_VARIABLE] = str(config)
    try:
        yield
    finally:
        del os.environ[CONFIG_VARIABLE]
        os.environ.update(before)


# -- the run -------------------------------------------------------------------------------------------------------


class _Clock:
    """Seconds by section."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.begun = time.monotonic()

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 2)

    def say_to(self, terminal: Terminal | None) -> Callable[[str], None]:
        """What the supervisor says begins a section that its next word ends; the last one ends with `start`."""
        last: list[tuple[str, float]] = []

        def say(words: str) -> None:
            now = time.monotonic()
            for name, began in last:
                self.seconds[name] = round(now - began, 2)
            last[:] = [(words, now)]
            if terminal is not None:
                terminal.print(f"{words} ...", style="dim")

        return say

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.begun


def _run(directory: Path, *, tenants: int, seed: int, show: bool, console: bool) -> Report:
    clock = _Clock()
    settings = Settings(data_dir=directory, log_level="warning", policy_file=directory / "demo-policy.toml")
    if show:
        err.print(
            f"months in a minute: here the budget of the destroy guard is {GUARD} changes, elsewhere 5 or 1 %",
            style="dim",
        )
    configure_logging(level="error")
    with clock.section("stream and oracle's expectation"):
        entries = stream(
            seed=seed,
            tenants=tenants,
            commerce_topic=settings.commerce_topic,
            lifecycle_topic=settings.lifecycle_topic,
        )
        write(entries, directory / INPUT)
    supervisor = Supervisor(settings, say=clock.say_to(err if show else None))
    with clock.section("start"):
        supervisor.__enter__()
    drain = threading.Event()
    watch = threading.Thread(target=supervisor.watch, args=(drain,), name="watch", daemon=True)
    watch.start()
    try:
        with Parts(settings, supervisor.endpoints) as parts, ExitStack() as beside:
            if console:
                address = beside.enter_context(console_beside(settings, supervisor.endpoints))
                err.print(f"console  {address}")
            _play(parts, entries, clock, show=show)
            report = _judge(parts, directory, len(entries), clock, show=show)
            if console:
                stay(lambda: err.print(f"the console stays at {address} until Ctrl-C"))
            _through_the_edge(parts, supervisor.context_url, directory, report, clock, show=show)
    finally:
        drain.set()
        watch.join()
        with clock.section("stop"):
            supervisor.stop()
    times = os.times()
    report.seconds = {**clock.seconds, "total": round(clock.elapsed, 2)}
    report.cpu_seconds = round(times.user + times.system + times.children_user + times.children_system, 2)
    if show:
        out.print(
            f"{report.seconds['total']:.1f} s, of which "
            + ", ".join(f"{name} {seconds:.1f}" for name, seconds in clock.seconds.items()),
            style="dim",
        )
    return report


def _play(parts: Parts, entries: Sequence[Entry], clock: _Clock, *, show: bool) -> None:
    """Send each wave when the one before has settled."""
    waves = sorted({entry.wave for entry in entries})
    producer = producer_of(parts)
    published = 0
    with screen(show=show) as shown:
        try:
            for wave in waves:
                so_far = [entry for entry in entries if entry.wave <= wave]
                ours = [entry for entry in so_far if entry.wave == wave]
                shown.wave(f"wave {wave} of {len(waves)}: {len(ours)} events", expect(so_far).steps(), len(so_far))
                with clock.section(f"wave {wave}"):
                    for entry in ours:
                        producer.send(
                            entry.topic,
                            key=entry.key.encode() if entry.key is not None else None,
                            value=entry.value,
                            headers=[(name, content.encode()) for name, content in entry.headers],
                        )
                    producer.flush(30)
                    published += len(ours)
                    settled(parts.engine, published=published, meanwhile=shown.look)
                shown.end_of_wave()
        finally:
            producer.close()


def _judge(parts: Parts, directory: Path, messages: int, clock: _Clock, *, show: bool) -> Report:
    with clock.section("oracle"):
        expected = expect(directory / INPUT, now=datetime.now(UTC))
        found = compare(expected, parts.endpoints.database_url, parts.topology)
    with parts.engine.connect() as connection:
        waiting = connection.execute(
            text("SELECT tenant_id, type, topic, partition, received_at FROM waiting ORDER BY number")
        )
        still_waiting = [dict(row) for row in waiting.mappings()]
    report = Report(
        tenants=len(expected.tenants),
        messages=messages,
        levels={str(level): count for level, count in expected.counts().items()},
        checked=len(expected.claims()),
        disagreements=found,
        status=overview.status(parts.endpoints.database_url),
        quarantine=_quarantined(parts),
        waiting=still_waiting,
    )
    if show:
        with clock.section("tables"):
            for each in (*tour(parts, expected), *totals(report)):
                out.print(each)
                out.print()
    return report


def _through_the_edge(
    parts: Parts, context_url: str | None, directory: Path, report: Report, clock: _Clock, *, show: bool
) -> None:
    """A request from outside to the tenant's database and back, and three that are refused."""
    if context_url is None:
        return
    with clock.section("edge"):
        found = access.requests(parts, context_url, directory)
    report.requests = [{**each._asdict(), "is_as_expected": each.is_as_expected} for each in found]
    if show:
        rows = [(each.what, each.status, each.answer, f"{each.milliseconds:.1f} ms") for each in found]
        out.print(table("requests from outside, through the edge", ("request", "status", "answer", "took"), rows))
        out.print()


def _quarantined(parts: Parts) -> list[dict[str, Any]]:
    """By rule: the number of messages, and the reason of the first one."""
    made: dict[str, dict[str, Any]] = {}
    for entry in quarantine_of(parts).entries():
        row = made.setdefault(entry.rule, {"rule": entry.rule, "messages": 0, "for_example": entry.reason})
        row["messages"] += 1 + entry.repeats
    return sorted(made.values(), key=lambda row: row["rule"])
