"""The sidecar as a process: it follows two services, and each fault of the wire closes, is said, and mends itself."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.tenancy import Tenancy
from tests.context.processes import SidecarProcess, StandInProcess, wait_until

TERM = 2.0


@pytest.fixture
def services(tmp_path: Path) -> Iterator[StandInProcess]:
    process = StandInProcess(tmp_path / "services").start()
    yield process
    process.end()


@pytest.fixture
def sidecar(tmp_path: Path, services: StandInProcess) -> Iterator[SidecarProcess]:
    services.do("fill", count=20)
    process = SidecarProcess(tmp_path / "sidecar", services.urls, term=TERM, digest=0.5)
    process.start()
    yield process
    process.remove()


@pytest.fixture
def tenancy(sidecar: SidecarProcess) -> Iterator[Tenancy]:
    with Tenancy.open(sidecar.directory) as found:
        wait_until(lambda: found.is_ready, what="the lease")
        wait_until((sidecar.directory / "sidecar.sock").exists, what="the socket: it opens after the lease")
        yield found


def level(tenancy: Tenancy, host: str = "t-1.example", at_least: int = 0) -> str:
    try:
        return tenancy.by_host(host, at_least).products["crm"].level
    except ContextRefused as refused:
        return refused.code


def get(sidecar: SidecarProcess, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("sidecar", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(str(sidecar.directory / "sidecar.sock"))
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("longer", [0, 1])
def test_a_directory_whose_socket_would_have_too_long_a_path_is_refused_with_the_remedy(
    tmp_path: Path, longer: int
) -> None:
    directory = tmp_path / ("x" * (107 - len(str(tmp_path / "x" / "sidecar.sock")) + 1 + longer))
    assert len(str(directory / "sidecar.sock")) == 107 + longer
    directory.mkdir()
    command = [sys.executable, "-m", "cli.main", "context-sidecar", "--service", "http://127.0.0.1:1"]
    with subprocess.Popen([*command, "--dir", str(directory)], stderr=subprocess.PIPE, text=True) as process:
        if not longer:
            wait_until((directory / "sidecar.sock").exists, what="the socket")
            process.terminate()
        said = process.communicate(timeout=20)[1]
    assert "Traceback" not in said
    assert ("is too long a name for a Unix socket in it: name a shorter --dir" in said) == bool(longer)
    if longer:
        assert process.returncode == 2


def closes_within(tenancy: Tenancy, seconds: float) -> None:
    """From the answer open to no answer, or closed."""
    wait_until(lambda: level(tenancy) != "open", seconds=seconds, what="the end of the answers")


def test_a_suspension_closes_in_a_tenth_of_a_second_and_opens_again(services: StandInProcess, tenancy: Tenancy) -> None:
    times = []
    for _ in range(20):
        assert level(tenancy, at_least=services.do("unsuspend", tenant="t-1")) == "open"
        services.do("suspend", tenant="t-1")
        began = time.monotonic()
        wait_until(lambda: level(tenancy) == "closed", seconds=1)
        times.append(time.monotonic() - began)
    assert sorted(times)[15] < 0.1, times


def test_a_token_is_honoured_and_one_that_was_never_drawn_is_refused(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    position = services.do("suspend", tenant="t-1")
    assert level(tenancy, at_least=position) == "closed"
    assert level(tenancy, at_least=position + 1_000) == "position-not-drawn"
    status, headers, body = get(sidecar, "/v1/hosts/T-1.example", {"Tenancy-At-Least": str(position)})
    assert (status, json.loads(body)["version"]) == (200, position)
    assert int(headers["tenancy-position"]) >= position
    status, _, body = get(sidecar, "/v1/hosts/t-1.example", {"Tenancy-At-Least": str(position + 1_000)})
    assert (status, json.loads(body)["code"]) == (400, "position-not-drawn")


def test_a_sidecar_behind_its_token_asks_a_service(services: StandInProcess, tenancy: Tenancy) -> None:
    services.fault("silent")
    position = services.do("suspend", tenant="t-1")
    assert level(tenancy, at_least=position) == "closed"
    services.fault("hang")
    assert level(tenancy, at_least=position + 1) == "not-fresh-enough"


@pytest.mark.parametrize("fault", ["silent", "heartbeats-only", "hang"])
def test_services_that_tell_nothing_new_close_everything_after_the_term_and_it_mends_itself(
    services: StandInProcess, tenancy: Tenancy, fault: str
) -> None:
    services.fault(fault)
    services.do("suspend", tenant="t-2")
    closes_within(tenancy, TERM + 0.5)
    services.fault(fault, None)
    wait_until(lambda: level(tenancy) == "open", seconds=8)
    assert level(tenancy, "t-2.example") == "closed"


def test_one_service_that_is_behind_or_silent_costs_nothing(services: StandInProcess, tenancy: Tenancy) -> None:
    services.fault("silent", port=0)
    services.do("suspend", tenant="t-1")
    wait_until(lambda: level(tenancy) == "closed", seconds=1)
    services.fault("silent", None, port=0)
    services.fault("lag", 30, port=1)
    services.do("unsuspend", tenant="t-1")
    wait_until(lambda: level(tenancy) == "open", seconds=5)
    end = time.monotonic() + TERM + 1
    while time.monotonic() < end:
        assert level(tenancy) == "open"
        time.sleep(0.05)


def test_frames_dropped_doubled_garbled_and_replayed_leave_the_right_documents(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    services.fault("frames", 0.3)
    for number in range(100):
        services.do("suspend" if number % 2 else "unsuspend", tenant=f"t-{number % 20}")
        time.sleep(0.01)
    services.fault("frames", None)
    last = services.do("suspend", tenant="t-0")
    wait_until(lambda: tenancy.position >= last and tenancy.is_ready, seconds=20)
    for number in range(1, 20):
        assert level(tenancy, f"t-{number}.example") == ("closed" if number % 2 else "open")
    assert "the link stands at" in sidecar.said


def test_another_log_behind_the_same_address_drops_everything_and_is_followed(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    services.do("other-log", log="restored")
    services.do("create", tenant="n-1", host="n-1.example")
    wait_until(lambda: level(tenancy, "n-1.example") == "open", seconds=10)
    assert level(tenancy) == "host-unknown"
    assert tenancy.log is not None
    assert tenancy.log.log == "restored"
    assert "another log: everything here is dropped" in sidecar.said


def test_a_higher_epoch_of_the_log_drops_everything(services: StandInProcess, tenancy: Tenancy) -> None:
    services.do("other-log")
    services.do("create", tenant="n-1", host="n-1.example")
    wait_until(lambda: level(tenancy, "n-1.example") == "open", seconds=10)
    assert tenancy.log is not None
    assert (tenancy.log.epoch, tenancy.position) == (1, 1)


def test_a_lease_of_another_log_renews_nothing(services: StandInProcess, tenancy: Tenancy) -> None:
    services.fault("lease-of-other-log")
    closes_within(tenancy, TERM + 0.5)


def test_a_digest_that_differs_takes_a_new_snapshot_and_the_same_one_does_not(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    wait_until(lambda: b"digests_compared_total 2" in get(sidecar, "/metrics")[2], seconds=10)
    assert b"snapshots_total 1\n" in get(sidecar, "/metrics")[2]
    services.fault("digest")
    wait_until(lambda: b"snapshots_total 2" in get(sidecar, "/metrics")[2], seconds=10)
    services.fault("digest", None)
    assert level(tenancy) == "open"
    assert "digest: differs" in sidecar.said


def test_a_position_that_is_too_old_for_the_service_takes_a_new_snapshot(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    sidecar.send(signal.SIGSTOP)
    position = services.do("suspend", tenant="t-1")
    services.do("forget")
    sidecar.end()
    sidecar.start()
    wait_until(lambda: tenancy.position >= position and tenancy.is_ready, seconds=15)
    assert level(tenancy) == "closed"
    assert "cannot tell what came after" in sidecar.said


@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_a_damaged_snapshot_is_refused_whole_and_asked_for_again(
    tmp_path: Path, services: StandInProcess, damage: str
) -> None:
    services.do("fill", count=20)
    services.fault("snapshot", damage)
    process = SidecarProcess(tmp_path / "other", services.urls, term=TERM)
    process.start()
    try:
        with Tenancy.open(process.directory) as tenancy:
            wait_until(lambda: "snapshot" in process.said, seconds=15)
            assert not tenancy.is_ready
            services.fault("snapshot", None)
            wait_until(lambda: tenancy.is_ready, seconds=10)
            assert level(tenancy) == "open"
        assert len(process.said.splitlines()) < 20
    finally:
        process.remove()


def test_a_stopped_sidecar_closes_everything_after_the_term_and_goes_on_afterwards(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    sidecar.send(signal.SIGSTOP)
    began = time.monotonic()
    closes_within(tenancy, TERM + 0.5)
    assert time.monotonic() - began > TERM / 2
    services.do("suspend", tenant="t-1")
    sidecar.send(signal.SIGCONT)
    wait_until(lambda: level(tenancy) == "closed", seconds=5)


def test_a_killed_sidecar_goes_on_from_what_it_left_without_a_new_snapshot(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    assert level(tenancy) == "open"
    sidecar.end()
    services.do("suspend", tenant="t-1")
    assert level(tenancy, "t-2.example") == "open"  # the lease stands until its end
    services.fault("snapshot", "cut")
    sidecar.start()
    wait_until(lambda: level(tenancy) == "closed", seconds=10)
    assert level(tenancy, "t-2.example") == "open"


def test_probes_say_whether_the_lease_is_valid(
    services: StandInProcess, sidecar: SidecarProcess, tenancy: Tenancy
) -> None:
    assert (get(sidecar, "/livez")[0], get(sidecar, "/readyz")[0]) == (200, 200)
    services.fault("hang")
    closes_within(tenancy, TERM + 0.5)
    assert (get(sidecar, "/livez")[0], get(sidecar, "/readyz")[0]) == (200, 503)
    status, _, body = get(sidecar, "/v1/hosts/t-1.example")
    assert (status, json.loads(body)["code"]) == (503, "lease-expired")


def test_an_entity_tag_saves_the_body_and_unknown_names_have_codes(sidecar: SidecarProcess, tenancy: Tenancy) -> None:
    status, headers, _ = get(sidecar, "/v1/tenants/t-1")
    assert status == 200
    assert get(sidecar, "/v1/tenants/t-1", {"If-None-Match": headers["etag"]})[0] == 304
    for path, expected, code in (
        ("/v1/tenants/none", 404, "tenant-unknown"),
        ("/v1/hosts/none.example", 404, "host-unknown"),
        ("/v1/hosts/a_b", 400, "host-invalid"),
        ("/v1/other/x", 404, "path-unknown"),
    ):
        status, _, body = get(sidecar, path)
        assert (status, json.loads(body)["code"]) == (expected, code)
