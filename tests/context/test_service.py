"""Does the context service answer as it says, over real uvicorn on real PostgreSQL?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import psycopg
import pytest

from adapters.postgres.contexts import ContextStore
from domain.tenant.events import TenantDestroyed, TenantPurged, TenantPurgeStarted
from tenantry_client.context.document import bucket, decode, fingerprint
from tenantry_client.context.wire import Changes, Frame, Gone, Heartbeat, Hello, read_snapshot
from tests.context.engine import PRODUCT, Engine, Service


@pytest.fixture
def engine(migrated_database: str) -> Iterator[Engine]:
    engine = Engine(migrated_database)
    with engine.marked(), engine.projected():
        yield engine
    engine.close()


def log_of(service: Service) -> str:
    return str(service.get("/v1/lease")[1]["log"])


def test_a_look_up_gives_the_document_with_its_marks(engine: Engine) -> None:
    engine.open("t-1", site_name="acme")
    position = engine.wait_for_position()
    with engine.served() as service:
        status, found, answer = service.get("/v1/hosts/ACME.tenantry.example.")
        assert (status, found["tenant_id"], found["access"]) == (200, "t-1", "open")
        assert found["products"][PRODUCT]["level"] == "open"
        assert found["placements"][found["products"][PRODUCT]["family"]]["address"] == "127.0.0.1:5432"
        assert "password" not in str(found)
        assert int(answer.headers["Tenancy-Position"]) == position
        assert answer.headers["Tenancy-Log"] == log_of(service)
        tag = answer.headers["ETag"]
        assert tag == f'"{found["version"]}"'
        assert service.get("/v1/tenants/t-1", If_None_Match=tag)[0] == 304
        assert service.get("/v1/tenants/t-2")[:2][0] == 404
        assert service.get("/v1/tenants/t-2")[1]["code"] == "tenant-unknown"
        assert service.get("/v1/hosts/other.tenantry.example")[1]["code"] == "host-unknown"
        assert service.get("/v1/hosts/a..b")[1]["code"] == "host-invalid"
        assert service.get("/v1/else")[1]["code"] == "path-unknown"


def test_a_token_is_waited_for_or_refused_with_its_code(engine: Engine) -> None:
    engine.open("t-1")
    engine.wait_for_position()
    with engine.served() as service:
        engine.suspend("t-1")
        token = service.get("/v1/lease")[1]["position"]
        answers = [service.get("/v1/tenants/t-1", Tenancy_At_Least=str(token)) for _ in range(20)]
        assert {status for status, _, _ in answers} <= {200, 503}
        for status, found, answer in answers:
            if status == 200:
                assert found["products"][PRODUCT]["level"] == "closed"
                assert int(answer.headers["Tenancy-Position"]) >= token
            else:
                assert found["code"] == "not-fresh-enough"
        assert service.get("/v1/tenants/t-1", Tenancy_At_Least=str(token + 1000))[1]["code"] == "position-not-drawn"
        assert service.get("/v1/tenants/t-1", Tenancy_At_Least="x")[1]["code"] == "freshness-token-invalid"


def test_the_stream_tells_a_suspension_and_then_beats(engine: Engine) -> None:
    engine.open("t-1")
    position = engine.wait_for_position()
    with engine.served() as service:
        frames = service.frames(position, log_of(service))
        hello = next(frames)
        assert isinstance(hello, Hello)
        assert hello.position >= position
        engine.suspend("t-1")
        watermark = position
        for frame in frames:
            assert isinstance(frame, Changes | Heartbeat)
            assert frame.after == watermark, "each frame continues where the last one ended"
            watermark = frame.position
            if isinstance(frame, Changes) and frame.tenants:
                (change,) = frame.tenants
                assert change.document is not None
                assert decode(change.document).products[PRODUCT].level == "closed"
                break
        beats = list(islice(frames, 2))
        assert all(isinstance(each, Heartbeat) for each in beats)


def test_a_reader_that_is_behind_gets_one_frame_up_to_now_and_one_of_another_log_is_sent_away(engine: Engine) -> None:
    for number in range(20):
        engine.open(f"t-{number}")
    engine.wait_for_position()
    with engine.served() as service:
        log = log_of(service)
        first: list[Frame] = list(islice(service.frames(0, log), 2))
        assert isinstance(first[1], Changes)
        assert len(first[1].tenants) == 20
        assert len(first[1].hosts) == 20
        assert isinstance(first[0], Hello)
        assert first[1].position >= first[0].position
        assert isinstance(list(service.frames(0, "another"))[-1], Gone)
        assert isinstance(list(service.frames(10**9, log))[-1], Gone), "a position ahead of ours is of no log of ours"


def test_a_snapshot_holds_everything_at_one_position_and_agrees_with_the_digest(engine: Engine) -> None:
    for number in range(30):
        engine.open(f"t-{number}")
    engine.wait_for_position()
    with engine.served() as service:
        answer = service.pool.request("GET", f"{service.url}/v1/snapshot")
        hello, *chunks = read_snapshot([answer.data])
        assert isinstance(hello, Hello)
        tenants = {
            each.tenant_id: each.version for chunk in chunks if isinstance(chunk, Changes) for each in chunk.tenants
        }
        assert len(tenants) == 30
        digest = service.get("/v1/digest")[1]
        assert (digest["log"], digest["epoch"], digest["position"]) == (hello.log, hello.epoch, hello.position)
        sums = [0] * 256
        for tenant_id, version in tenants.items():
            sums[bucket(tenant_id)] += fingerprint(tenant_id, version)
        assert digest["buckets"] == [f"{each % 2**64:016x}" for each in sums]


def test_a_purged_tenant_is_told_as_gone_and_its_host_as_nobodys(engine: Engine) -> None:
    engine.open("t-1", site_name="acme")
    position = engine.wait_for_position()
    with engine.served() as service:
        engine.record(("tenant:t-1", TenantDestroyed(tenant_id="t-1", reason="closed")))
        engine.wait_for_position()
        assert service.get("/v1/hosts/acme.tenantry.example")[1]["access"] == "closed"
        engine.record(("tenant:t-1", TenantPurgeStarted(tenant_id="t-1", epoch=3)))
        engine.wait_for_position()
        assert service.get("/v1/tenants/t-1")[1]["lifecycle"] == "purging"
        engine.record(("tenant:t-1", TenantPurged(tenant_id="t-1")))
        engine.wait_for_position()
        assert service.get("/v1/tenants/t-1")[1]["code"] == "tenant-unknown"
        assert service.get("/v1/hosts/acme.tenantry.example")[1]["code"] == "host-unknown"
        changes = (each for each in service.frames(position, log_of(service)) if isinstance(each, Changes))
        told = next(each for each in changes if each.tenants[-1].document is None)
        assert told.hosts[-1].tenant_id is None


def test_the_position_of_a_producers_event_is_a_token(engine: Engine) -> None:
    with psycopg.connect(engine.url, autocommit=True) as connection:
        connection.execute(
            'INSERT INTO incoming (source, id, digest, topic, partition, "offset", outcome)'
            " VALUES ('/commerce', 'e-1', '', 't', 0, 0, 'recorded'), ('/commerce', 'e-2', '', 't', 0, 1, 'waiting')"
        )
    engine.open("t-1")
    engine.wait_for_position()
    with engine.served() as service:
        status, found, _ = service.get("/v1/positions?source=/commerce&id=e-1")
        assert (status, found["position"]) == (200, service.get("/v1/lease")[1]["position"])
        assert service.get("/v1/positions?source=/commerce&id=e-2")[1]["code"] == "event-unknown"
        assert service.get("/v1/positions?source=/commerce")[1]["code"] == "query-incomplete"


def test_a_lease_covers_what_was_committed_before_it_was_asked_for_without_an_agent(migrated_database: str) -> None:
    engine = Engine(migrated_database)
    with engine.projected(), engine.served() as service:
        for number in range(5):
            engine.open(f"t-{number}")
            with psycopg.connect(engine.url, autocommit=True) as connection:
                row = connection.execute("SELECT max(notification_id) FROM stored_events").fetchone()
            assert row is not None
            assert service.get("/v1/lease")[1]["position"] >= row[0]
            with psycopg.connect(engine.url, autocommit=True) as connection:
                mark = connection.execute("SELECT position FROM high_water_mark").fetchone()
            assert mark is not None
            assert mark[0] >= row[0], "the service has moved the mark itself"
    engine.close()


def test_without_a_projector_look_ups_are_refused_after_the_lease(migrated_database: str) -> None:
    engine = Engine(migrated_database)
    with engine.marked():
        with engine.projected():
            engine.open("t-1")
            engine.wait_for_position()
            with engine.served(lease_seconds=1.5) as service:
                assert service.get("/v1/tenants/t-1")[0] == 200
        with engine.projected() as projector, engine.served(lease_seconds=1.5) as service:
            projector._store.hold()  # noqa: SLF001
            projector.step = lambda: False  # type: ignore[method-assign]  # it stands still
            engine.suspend("t-1")
            time.sleep(2.0)
            end = time.monotonic() + 5
            while service.get("/readyz")[0] == 200 and time.monotonic() < end:
                time.sleep(0.05)
            status, found, _ = service.get("/v1/tenants/t-1")
            assert (status, found["code"]) == (503, "lease-expired")
    engine.close()


def test_another_epoch_ends_the_stream_and_makes_readers_begin_anew(engine: Engine) -> None:
    engine.open("t-1")
    position = engine.wait_for_position()
    with engine.served() as service:
        frames = service.frames(position, log_of(service))
        assert isinstance(next(frames), Hello)
        with psycopg.connect(engine.url, autocommit=True) as connection:
            connection.execute("UPDATE context_log SET epoch = epoch + 1")
        engine.suspend("t-1")
        rest = list(frames)
        assert not any(isinstance(each, Changes) and each.tenants for each in rest), "nothing of the new epoch is told"


def test_a_service_that_is_started_again_goes_on_from_the_readers_position(engine: Engine) -> None:
    engine.open("t-1")
    position = engine.wait_for_position()
    with engine.served() as service:
        log = log_of(service)
    engine.suspend("t-1")
    with engine.served() as service:
        frames = service.frames(position, log)
        next(frames)
        told = next(frames)
        assert isinstance(told, Changes)
        assert (told.after, len(told.tenants)) == (position, 1)


def test_a_sweep_changes_nothing_where_nothing_differs(engine: Engine) -> None:
    for number in range(5):
        engine.open(f"t-{number}")
    engine.wait_for_position()
    with engine.served() as service:
        before = service.get("/v1/digest")[1]["buckets"]
        store = ContextStore(engine.url)
        store.request_sweep()
        end = time.monotonic() + 10
        while store.standing().swept_after is not None and time.monotonic() < end:
            time.sleep(0.05)
        assert store.standing().swept_after is None
        store.close()
        assert service.get("/v1/digest")[1]["buckets"] == before


def test_the_openapi_document_names_every_path_and_every_field(engine: Engine) -> None:
    with engine.served() as service:
        told = service.get("/v1/openapi.json")[1]
        for path in told["paths"]:
            concrete = path.replace("{id}", "t-1").replace("{host}", "acme.example")
            if path not in {"/v1/changes", "/v1/snapshot"}:
                status = service.pool.request("GET", service.url + concrete).status
                assert str(status) in told["paths"][path]["get"]["responses"], path
        assert "expires_at" in told["components"]["schemas"]["Product"]["properties"]
