"""Alert rules: each fires in a night that goes wrong, and names its remedy; promtool judges them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.compose.fleet import TEXTS

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (on Debian: apt install prometheus)")
    return subprocess.run(
        [program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_alert_rules_pass_their_tests() -> None:
    ran = promtool("test", "rules", "alerts_test.yml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_alert_rules_are_valid() -> None:
    assert promtool("check", "rules", "alerts.yml").returncode == 0


def test_each_alert_fires_in_a_test_and_is_named_there() -> None:
    alerts = {
        line.split()[-1]
        for line in PROMETHEUS.joinpath("alerts.yml").read_text().splitlines()
        if line.strip().startswith("- alert: ")
    }
    lines = PROMETHEUS.joinpath("alerts_test.yml").read_text().splitlines()
    fires = [line for line in lines if "value: 1}" in line and "alertname=" in line]
    assert {line.split('alertname="')[1].partition('"')[0] for line in fires} == alerts


def test_each_alert_has_a_severity_and_a_remedy() -> None:
    lines = PROMETHEUS.joinpath("alerts.yml").read_text().splitlines()
    count = sum(line.strip().startswith("- alert: ") for line in lines)
    assert count >= 20
    for wanted in ("labels: {severity: ", "summary: ", "remedy: "):
        assert sum(line.strip().startswith(wanted) for line in lines) == count, wanted


def test_the_guide_names_every_metric_of_the_fleet() -> None:
    page = PROMETHEUS.parents[1].joinpath("docs", "how-to", "monitor.md").read_text()
    missing = [name for name, text in TEXTS.items() if f"| `tenantry_{name}` | {text} |" not in page]
    assert not missing
