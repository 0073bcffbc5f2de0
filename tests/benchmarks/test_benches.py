"""Do the benches run, and measure what they say? How fast is no matter here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import psycopg
import pytest

from adapters.embedded.postgres import EmbeddedPostgres
from adapters.encryption import NoKeys
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.event_mapper import EventMapper
from benchmarks import curves, growth, report, saga
from benchmarks.harness import Compared, our_database, result
from benchmarks.population import EVENTS_OF_A_LIFE, customer_id, life, lives, load, parts, recorded, tenant_id
from cli.bench import ALL, BENCHES

ROOT = Path(__file__).parent.parent.parent
FIELDS = {"bench", "ours", "peer", "ratio", "unit", "runs"}


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_all_benches_end_with_one_json_object_and_a_report(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if "bench" not in request.config.getoption("-m"):
        pytest.skip("not asked for: `make test-bench` runs it")
    written = tmp_path / "benchmarks.md"
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "bench",
        "all",
        "--json",
        "--quick",
        "--runs",
        "1",
        "--write",
        str(written),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        try:
            said, progress = ran.communicate(timeout=540)
        finally:
            ran.terminate()  # not killed: it stops its server
    assert ran.returncode == 0, progress
    found = {each["bench"]: each for each in json.loads(said.splitlines()[-1])["results"]}
    assert set(found) == set(ALL)
    assert {each["runs"] for each in found.values()} == {1}
    project = found["project"]
    assert set(project) >= FIELDS
    assert project["ratio"] == pytest.approx(project["ours"] / project["peer"], rel=0.05)
    assert "run 1 of 1" in progress
    assert all(f"| {line[0]} |" in written.read_text() for line in report.lines(list(found.values())))


def test_a_bench_that_is_not_there_is_named_with_those_that_are() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "cli.main", "bench", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: there is no bench nothing")
    assert all(name in ran.stderr for name in BENCHES)


def test_the_ratio_is_that_of_the_medians() -> None:
    found = result("any", Compared([30.0, 10.0, 20.0], [1.0, 2.0, 9.0]))
    assert (found["ours"], found["peer"], found["ratio"], found["runs"]) == (20.0, 2.0, 10.0, 3)


def test_the_report_has_a_line_for_each_figure(tmp_path: Path) -> None:
    compared = Compared([20.0], [2.0])
    append = result("append", compared, ratio_1ms=3, ours_1ms=6, peer_1ms=2, batch_ratio=2, batch_ours=4, batch_peer=2)
    assert [line[0] for line in report.lines([append])] == ["append", "append_1ms", "append_batch"]
    report.write(tmp_path / "benchmarks.md", [append], report.machine())
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| append | 20 | 2 | 10 | 5 |" in text
    assert "- PostgreSQL: 18" in text


def test_the_report_tells_of_the_saga_what_the_comparison_does_not() -> None:
    beside: dict[str, Any] = {
        "one_worker": 100.0,
        "two_workers": 150.0,
        "local": 9.6,
        "local_bare": 19.0,
        "local_ratio": 0.51,
        "activated_p50_ms": 123,
        "activated_p99_ms": 1234,
        "activated_stages_ms": {"until it is taken in": [12, 1034]},
        "scopes_due": 10_000,
        "longest_wait_seconds": 4.2,
        "rss_mib": 150,
    }
    found = report.lines([result("saga", Compared([100.0], [10.0]), **beside)])
    assert found[0] == ("saga", "100", "10", "10", "18")
    assert [line[1] for line in found[1:]] == [
        "100",
        "150",
        "10",
        "p50 123 ms, p99 1,234 ms",
        "p50 12 ms, p99 1,034 ms",
        "10,000 at once: 150 MiB, longest wait 4.2 s",
    ]


def test_the_report_tells_of_history_each_part_and_of_growth_the_memory_of_each_worker(tmp_path: Path) -> None:
    history: dict[str, Any] = {
        "bench": "history",
        "runs": 3,
        "seal_rate": 5.0,
        "seal_ratio": 0.5,
        "verify_rate": 6.0,
        "verify_ratio": 0.6,
        "hashlib_rate": 10.0,
        "proof_ms": 4.5,
        "export_rate": 70.0,
        "asof_rate": 9.0,
        "rebuild_rate": 10.0,
        "asof_ratio": 0.9,
    }
    assert [line[:4] for line in report.lines([history])] == [
        ("seal", "5", "10", "0.5"),
        ("verify", "6", "10", "0.6"),
        ("proof", "4.5 ms", "–", "–"),
        ("export", "70", "–", "–"),
        ("as_of", "9", "10", "0.9"),
    ]
    grown = growth.result_of(
        {10: measured(8.0), 100: measured(7.0), 1000: measured(6.0)}, runs=1, memory={"project": 111}
    )
    report.write(tmp_path / "benchmarks.md", [grown], report.machine())
    assert "- growth: project 111 MiB" in (tmp_path / "benchmarks.md").read_text()


def measured(rate: float) -> growth.Measured:
    """A size at which everything has the same rate, half of it right after a checkpoint, and 20 ms less a unit."""
    names = growth.RATES
    return growth.Measured(
        after_checkpoint=dict.fromkeys(names, rate / 2),
        past={name: [rate, rate * 2, rate / 3] for name in names},
        p50_ms=10 - rate,
        p99_ms=20 - rate,
    )


def test_growth_is_the_largest_store_against_the_smallest(tmp_path: Path) -> None:
    grown = growth.result_of({10: measured(8.0), 100: measured(7.0), 1000: measured(6.0)}, runs=3, memory={})
    assert {name: grown[name] for name in (*growth.RATES, "latency")} == {
        **dict.fromkeys(growth.RATES, 0.75),
        "latency": 1.17,
    }
    assert [line for line in report.lines([grown]) if "append" in line[0] or "latency" in line[0]] == [
        ("growth of append", "6", "8", "0.75", "0.8"),
        ("growth of append, right after a checkpoint", "3", "4", "0.75", "–"),
        ("growth of latency", "p99 14.0 ms", "p99 12.0 ms", "1.17", "1.5 at most"),
    ]


def test_the_report_shows_each_curve_of_growth_as_a_picture(tmp_path: Path) -> None:
    grown = growth.result_of({10: measured(800.0), 100: measured(700.0), 1000: measured(5.0)}, runs=3, memory={})
    report.write(tmp_path / "benchmarks.md", [grown], report.machine())
    text = (tmp_path / "benchmarks.md").read_text()
    assert set(re.findall(r"\]\((.*\.svg)\)", text)) == {each.name for each in tmp_path.glob("*.svg")}
    assert len(list(tmp_path.glob("*.svg"))) == len(growth.RATES) + 1
    drawn = ET.fromstring((tmp_path / "growth-append.svg").read_text())  # noqa: S314 - ours
    past, after_checkpoint = drawn.findall("{*}polyline")
    assert heights(past) == sorted(heights(past))  # the slower, the further down
    assert heights(after_checkpoint)[0] > heights(past)[0]
    assert heights(past)[-1] < curves.BOTTOM


def heights(line: ET.Element) -> list[float]:
    return [float(point.partition(",")[2]) for point in line.attrib["points"].split()]


def test_what_changes_as_the_store_grows_is_all_over_it_under_versions_that_are_free() -> None:
    five_each = list(growth.Changes(8, 4, 5, after=40)(NoKeys(), range(4)))
    one_each = list(growth.Changes(8, 20, 1, after=60)(NoKeys(), range(20)))
    assert (len(five_each), len({stream for stream, *_ in five_each})) == (20, 4)
    assert (len(one_each), len({stream for stream, *_ in one_each})) == (20, 8)
    assert len({(stream, version) for stream, version, *_ in five_each + one_each}) == 40
    assert min(version for _, version, *_ in five_each) > 40


@pytest.mark.saga
def test_tenants_of_the_saga_bench_converge_without_effects_in_the_world(postgres: EmbeddedPostgres) -> None:
    found = saga.rate(postgres, 3)
    assert found.rate > 0
    assert found.longest_wait > 0


def test_a_loaded_store_reads_as_if_the_mapper_had_written_it(postgres: EmbeddedPostgres) -> None:
    url = our_database(postgres, "test_loaded")
    try:
        load(url, lives, range(4), processes=2, incoming=True)
        with parts(url) as ours:
            assert_reads_as_written(ours.log)
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT (SELECT count(*) FROM incoming), (SELECT count(*) FROM customer_tenants)")
            assert row.fetchone() == (12, 4)
    finally:
        postgres.drop_database("test_loaded")


def assert_reads_as_written(log: PostgresEventLog) -> None:
    found = log.read(0, 100)
    assert len(found) == 4 * EVENTS_OF_A_LIFE
    for number in range(4):
        tenant = tenant_id(number)
        ours = [fact for fact in found if tenant in fact.stream]
        assert [(fact.stream, fact.version, fact.event) for fact in ours] == life(tenant, customer_id(number))
        for fact in ours:
            assert fact.cause == recorded(fact.stream, fact.version, fact.event, UUID(str(fact.id))).cause
            mapper: EventMapper = log.mapper
            again = mapper.to_domain_event(mapper.to_stored_event(fact))
            assert (again.event, again.cause, again.time) == (fact.event, fact.cause, fact.time)
    assert len({fact.id for fact in found}) == len(found)
