"""The store and the lease on a host: what the sidecar wrote is what a reader sees, and nothing is believed too long."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import lmdb
import pytest

from tenantry_client.context.document import TenantContext, bucket, encode, fingerprint
from tenantry_client.context.lease import SHARED_MEMORY, LeaseReader, LeaseUnusable, LogId, lease_path, now_ns
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.store import StoreTaken, StoreWriter
from tenantry_client.context.store_reader import store_path
from tenantry_client.context.stored import named, pack, unpack
from tenantry_client.context.tenancy import Tenancy
from tenantry_client.context.wire import FORMAT, Changes, Garbled, Hello, HostChange, TenantChange
from tests.clients.context.test_formats import context

LOG = LogId("log-1", 0)


def load(store: StoreWriter, *, tenants: int = 3, position: int = 10, log: LogId = LOG) -> None:
    names = sorted(f"t-{n}" for n in range(tenants))
    frames: list[Hello | Changes] = [
        Hello(log.log, log.epoch, FORMAT, position),
        Changes(
            position,
            position,
            [TenantChange(name, 5, encode(of(name, 5))) for name in names],
            [HostChange(f"{name}.example", name, 5) for name in names],
        ),
    ]
    store.switch(store.load(iter(frames)))


def of(tenant_id: str, version: int, access: str = "open") -> TenantContext:
    found = context(tenant_id, version=version)
    return TenantContext(**{name: getattr(found, name) for name in found.__struct_fields__} | {"access": access})


def change(tenant_id: str, version: int, *, after: int = 10, access: str = "open") -> Changes:
    return Changes(after, version, [TenantChange(tenant_id, version, encode(of(tenant_id, version, access)))], [])


def refusal(tenancy: Tenancy, host: str, at_least: int = 0) -> str:
    with pytest.raises(ContextRefused) as refused:
        tenancy.by_host(host, at_least)
    return refused.value.code


def test_without_a_lease_nothing_is_answered(directory: Path) -> None:
    with Tenancy.open(directory) as tenancy:
        assert refusal(tenancy, "t-1.example") == "lease-expired"
        assert not tenancy.is_ready


def test_under_a_lease_the_host_is_answered_and_after_its_end_no_more(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 200_000_000)
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("T-1.Example:443").tenant_id == "t-1"
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"
        assert tenancy.by_id("t-1").host == "acme.example"
        assert refusal(tenancy, "nobody.example") == "host-unknown"
        time.sleep(0.21)
        assert refusal(tenancy, "t-1.example") == "lease-expired"
        writer.lease.renew(now_ns() + 200_000_000)
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"


def test_a_change_is_seen_by_a_process_that_has_kept_the_document(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory) as tenancy:
        kept = tenancy.by_host("t-1.example")
        assert tenancy.by_host("t-1.example") is kept
        writer.apply(change("t-1", 11, access="closed"))
        assert tenancy.by_host("t-1.example").access == "closed"
        assert tenancy.position == 11


def test_a_host_belongs_to_the_tenant_that_took_it_last_by_position(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory) as tenancy:
        taken, released = HostChange("t-1.example", "t-2", 12), HostChange("t-1.example", None, 11)
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"
        writer.apply(Changes(10, 12, [], [taken]))
        writer.apply(Changes(12, 13, [], [released]))
        assert tenancy.by_host("t-1.example").tenant_id == "t-2"
        writer.apply(Changes(13, 14, [], [HostChange("t-1.example", None, 14)]))
        assert refusal(tenancy, "t-1.example") == "host-unknown"


def test_an_older_version_of_a_document_changes_nothing(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    writer.apply(change("t-1", 12, access="closed"))
    before = writer.digest()
    writer.apply(Changes(10, 13, [TenantChange("t-1", 11, encode(of("t-1", 11)))], []))
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("t-1.example").version == 12
    assert writer.digest() == before


def test_a_token_ahead_of_the_watermark_waits_and_then_is_refused(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory, wait=0.05) as tenancy:
        assert refusal(tenancy, "t-1.example", at_least=11) == "not-fresh-enough"
        late = threading.Timer(0.02, lambda: writer.apply(change("t-1", 11)))
        late.start()
        assert tenancy.by_host("t-1.example", 11).version == 11
        late.join()


def test_the_digest_follows_the_changes_and_is_found_again_after_a_restart(directory: Path) -> None:
    store = StoreWriter(directory)
    load(store, tenants=50)
    store.apply(change("t-1", 11))
    store.apply(Changes(11, 12, [TenantChange("t-2", 12, None), TenantChange("new", 12, encode(of("new", 12)))], []))
    expected = [0] * 256
    for name, version in [(f"t-{n}", 5) for n in range(50) if n not in {1, 2}] + [("t-1", 11), ("new", 12)]:
        expected[bucket(name)] += fingerprint(name, version)
    assert store.digest() == [f"{each % 2**64:016x}" for each in expected]
    before = store.digest()
    store.close()
    again = StoreWriter(directory)
    assert (again.digest(), again.position, again.log) == (before, 12, LOG)
    again.close()


def test_a_snapshot_is_the_next_generation_and_readers_follow(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("t-2.example").tenant_id == "t-2"
        load(writer, tenants=2, position=20)
        assert refusal(tenancy, "t-2.example") == "host-unknown"
        assert (tenancy.by_host("t-1.example").tenant_id, tenancy.position) == ("t-1", 20)
    assert [each.name for each in writer.directory.glob("store.*")] == [f"store.{writer.generation}"]


def test_a_reader_does_not_take_a_new_store_for_the_one_that_it_has_open(directory: Path) -> None:
    first = StoreWriter(directory)
    load(first)
    first.lease.renew(now_ns() + 10**10)
    with Tenancy.open(directory) as tenancy:
        assert tenancy.by_host("t-2.example").tenant_id == "t-2"
        first.drop()
        first.close()
        second = StoreWriter(directory)
        load(second, tenants=2)
        second.lease.renew(now_ns() + 10**10)
        assert refusal(tenancy, "t-2.example") == "host-unknown"
        second.close()


def test_an_older_snapshot_of_the_same_log_is_refused_and_leaves_nothing(writer: StoreWriter) -> None:
    with pytest.raises(Garbled, match="older"):
        load(writer, position=9)
    assert [each.name for each in writer.directory.glob("store.*")] == [f"store.{writer.generation}"]
    assert writer.position == 10


def test_a_snapshot_that_ends_in_the_middle_leaves_nothing(writer: StoreWriter) -> None:
    def broken() -> Iterator[Hello | Changes]:
        yield Hello("log-1", 0, FORMAT, 30)
        yield change("t-1", 30)
        raise Garbled("cut off")

    with pytest.raises(Garbled):
        writer.load(broken())
    assert [each.name for each in writer.directory.glob("store.*")] == [f"store.{writer.generation}"]


def test_another_log_ends_the_lease_and_drops_what_was_kept(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"
        load(writer, position=3, log=LogId("log-1", 1))
        assert refusal(tenancy, "t-1.example") == "lease-expired"
        writer.lease.renew(now_ns() + 10**10)
        assert (tenancy.by_host("t-1.example").tenant_id, tenancy.position) == ("t-1", 3)
        assert tenancy.log == LogId("log-1", 1)


def test_neither_lease_nor_store_of_another_boot_is_believed(directory: Path) -> None:
    store = StoreWriter(directory, boot="11111111-1111-1111-1111-111111111111")
    load(store)
    store.lease.renew(now_ns() + 10**10)
    with pytest.raises(LeaseUnusable, match="another boot"):
        LeaseReader(directory)
    os.close(store._lock)  # noqa: SLF001 - power is lost: nothing is closed
    again = StoreWriter(directory)
    assert (again.log, again.generation, again.lease.end_ns) == (None, 0, 0)
    again.close()


def test_a_store_that_was_closed_cleanly_is_believed_after_a_reboot_but_its_lease_is_not(directory: Path) -> None:
    store = StoreWriter(directory, boot="11111111-1111-1111-1111-111111111111")
    load(store)
    store.lease.renew(now_ns() + 10**10)
    store.close()
    again = StoreWriter(directory)
    assert (again.log, again.position, again.lease.end_ns) == (LOG, 10, 0)
    again.close()


def test_the_lease_lies_in_memory(directory: Path, writer: StoreWriter) -> None:
    path = writer.lease.path
    assert path == lease_path(directory)
    assert path.parent in {SHARED_MEMORY, directory.resolve()}


def test_a_second_sidecar_of_a_directory_is_refused(writer: StoreWriter) -> None:
    with pytest.raises(StoreTaken, match="another sidecar"):
        StoreWriter(writer.directory)


def test_after_a_fork_parent_and_child_both_look_up(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"
        child = os.fork()
        if not child:
            good = tenancy.by_host("t-1.example").tenant_id == "t-1"
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        writer.apply(change("t-1", 11, access="closed"))
        assert tenancy.by_host("t-1.example").access == "closed"


def _hold_a_reader(directory: str, ready: object) -> None:
    tenancy = Tenancy.open(directory)
    tenancy.by_host("t-1.example")
    store = tenancy._current(tenancy._page[0])  # noqa: SLF001
    with store.env.begin():
        ready.set()  # type: ignore[attr-defined]
        time.sleep(60)


def test_a_reader_killed_inside_lmdb_frees_its_place_and_holds_nobody_up(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**11)
    spawn = get_context("spawn")
    ready = spawn.Event()
    reader = spawn.Process(target=_hold_a_reader, args=(str(writer.directory), ready))
    reader.start()
    assert ready.wait(30)
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGKILL)
    reader.join()
    writer.apply(change("t-1", 11))
    assert writer.free_readers() == 1
    with Tenancy.open(writer.directory) as tenancy:
        assert tenancy.by_host("t-1.example").version == 11


def test_configuration_may_live_longer_than_access(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 50_000_000)
    with (
        Tenancy.open(writer.directory, configuration_for=60) as patient,
        Tenancy.open(writer.directory) as strict,
    ):
        assert patient.configuration("t-1.example", "crm") == {"theme": "dark"}
        time.sleep(0.06)
        assert refusal(patient, "t-1.example") == "lease-expired"
        assert patient.configuration("t-1.example", "crm") == {"theme": "dark"}
        with pytest.raises(ContextRefused):
            strict.configuration("t-1.example", "crm")


def test_a_halted_document_is_refused_alone(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    halted = TenantContext("t-1", "c", "s", "h", "active", "open", 11, halted="a handler failed")
    writer.apply(Changes(10, 11, [TenantChange("t-1", 11, encode(halted))], []))
    with Tenancy.open(writer.directory) as tenancy:
        assert refusal(tenancy, "t-1.example") == "tenant-halted"
        assert tenancy.by_host("t-2.example").tenant_id == "t-2"


def test_a_document_that_cannot_be_read_halts_its_tenant_alone(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    writer.apply(Changes(10, 11, [TenantChange("t-1", 11, b"\xc1 of another format")], []))
    with Tenancy.open(writer.directory) as tenancy:
        assert refusal(tenancy, "t-1.example") == "tenant-halted"
        assert tenancy.by_host("t-2.example").tenant_id == "t-2"


def test_the_stored_form_says_the_same_as_the_document() -> None:
    found = unpack(pack("t-1", 7, encode(context())))
    assert named(found) == context()
    assert found.require(product="crm", feature="export").edition == "premium"


@pytest.mark.parametrize("name", ["", "x" * 600, "\udcff", "a\0b", "%s"])
def test_names_that_nobody_can_have_are_refused_and_stop_nothing(writer: StoreWriter, name: str) -> None:
    writer.lease.renew(now_ns() + 10**10)
    writer.apply(Changes(10, 11, [TenantChange("x" * 600, 11, b"")], [HostChange("y" * 600, "t-1", 11)]))
    with Tenancy.open(writer.directory) as tenancy:
        with pytest.raises(ContextRefused) as refused:
            tenancy.by_id(name)
        assert refused.value.code == "tenant-unknown"
        assert refusal(tenancy, name) == "host-invalid"
        assert tenancy.by_host("t-1.example").tenant_id == "t-1"


def test_a_full_disk_changes_nothing_and_the_store_goes_on_when_there_is_room(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**11)
    data = store_path(writer.directory, writer.generation) / "data.mdb"
    many = [TenantChange(f"new-{n}", 11, encode(of(f"new-{n}", 11))) for n in range(2_000)]
    before, limits = writer.digest(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (data.stat().st_size + 20_000, limits[1]))
    try:
        with pytest.raises(lmdb.Error):
            writer.apply(Changes(10, 11, many, []))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with Tenancy.open(writer.directory) as tenancy:
        assert (tenancy.position, tenancy.by_host("t-1.example").version) == (10, 5)
        writer.reopen()
        assert (writer.digest(), writer.position) == (before, 10)
        writer.apply(Changes(10, 11, many, []))
        assert tenancy.by_id("new-7", 11).version == 11


def test_a_wall_clock_that_jumps_neither_ends_nor_lengthens_a_lease(
    writer: StoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.lease.renew(now_ns() + 200_000_000)
    with Tenancy.open(writer.directory) as tenancy:
        for jump in (-(10**9), 10**9):
            monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
            assert tenancy.by_host("t-1.example").tenant_id == "t-1"
        time.sleep(0.21)
        assert refusal(tenancy, "t-1.example") == "lease-expired"


def test_a_process_keeps_a_bounded_number_of_documents(writer: StoreWriter) -> None:
    writer.lease.renew(now_ns() + 10**10)
    with Tenancy.open(writer.directory, kept=2) as tenancy:
        for name in ("t-0", "t-1", "t-2", "t-0"):
            assert tenancy.by_host(f"{name}.example").tenant_id == name
        assert len(tenancy._page[1]) == 2  # noqa: SLF001
