"""Does the log go out whole, and come in whole somewhere else?"""

from __future__ import annotations

import base64
import csv
import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec
import psycopg
import pyarrow as pa
import pytest
from psycopg_pool import ConnectionPool

from adapters.encryption import MasterKey, PostgresEncryptionKeys
from adapters.files.log_files import Form
from adapters.postgres.event_log import PostgresEventLog
from adapters.postgres.log_copy import LogCopy
from adapters.postgres.log_import import LogImport
from adapters.postgres.seal_store import SealStore, leaf_of
from audit.checkpoints import Keyring, Note, Signer, key_ids
from audit.export import Choice, Exported, export, export_keys
from audit.importing import Imported, Keys, import_log
from audit.manifest import Manifest, beside
from audit.merkle import leaf_hash, verify_inclusion
from audit.verification import Verification
from domain.catalog import default_catalog
from domain.errors import Tampered, TenantryError, UnreadableEvent, UsageError
from domain.personal import FORGOTTEN
from history.rebuild.replay import Replay
from projections import PROJECTIONS
from tests.audit.sealing import KEYS, seal, verify
from tests.history.killing import AT_RANDOM, AT_THE_END
from tests.history.models import found
from tests.history.stories import PlainSources, Stories, append

MASTER = MasterKey(bytes(range(32)))
COUNT = 400
CATALOG = default_catalog()


@contextmanager
def sealing_keys(url: str) -> Iterator[PostgresEncryptionKeys]:
    with ConnectionPool[Any](url, min_size=0, max_size=2, open=True) as pool:
        yield PostgresEncryptionKeys(pool, MASTER)


@pytest.fixture
def log(migrated_database: str) -> str:
    """A store with gaps in its positions, two days long, sealed but for its last events."""
    with psycopg.connect(migrated_database) as connection:
        connection.execute("SELECT setval('stored_events_notification_id_seq', 10)")
    stories = Stories(7, tenants=12)
    with sealing_keys(migrated_database) as keys:
        written = PostgresEventLog(migrated_database, keys)
        append(written, stories.take(COUNT - 50))
        seal(migrated_database)
        later = [msgspec.structs.replace(fact, time=fact.time.replace(day=2)) for fact in stories.take(50)]
        append(written, later)
        written.close()
    return migrated_database


@dataclass(frozen=True)
class Exports:
    url: str

    def __call__(self, path: Path, choice: Choice) -> Exported:
        with LogCopy(self.url) as copy:
            return export(copy, path, choice, page=64)

    def keys(self, path: Path) -> int:
        with LogCopy(self.url) as copy:
            return export_keys(copy, path)


@pytest.fixture
def exports(log: str) -> Exports:
    return Exports(log)


def take_in(url: str, path: Path, keys: Path | None = None, *, master: MasterKey = MASTER) -> Imported:
    return import_log(LogImport(url), path, keys=Keys(keys, master) if keys else None)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def asked(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


EVERYTHING = "SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events ORDER BY 1"


def rebuilt(url: str) -> Any:
    with sealing_keys(url) as keys:
        Replay(PlainSources(url, keys)).rebuild([])
    return found(url, PROJECTIONS)


def test_a_store_that_was_exported_and_imported_is_the_same_store(
    exports: Exports, second_database: str, tmp_path: Path
) -> None:
    file, keys = tmp_path / "log.jsonl", tmp_path / "keys.jsonl"
    exports(file, Choice("jsonl"))
    assert exports.keys(keys) > 0
    imported = take_in(second_database, file, keys)
    assert (imported.events, imported.without_keys) == (COUNT, 0)
    assert rows(second_database, EVERYTHING) == rows(exports.url, EVERYTHING)

    held = seal(exports.url)
    seal(second_database)
    assert held is not None
    for url in (exports.url, second_database):
        with SealStore(url) as store:
            verified = Verification(store, KEYS).verify(held)
        assert (verified.findings, verified.events) == ([], COUNT)

    read_model = rebuilt(exports.url)
    assert read_model == rebuilt(second_database)
    assert "Ada" in str(read_model)


def test_the_engine_goes_on_after_an_import(exports: Exports, second_database: str, tmp_path: Path) -> None:
    exports(tmp_path / "log", Choice("jsonl"))
    take_in(second_database, tmp_path / "log")
    last = rows(exports.url, "SELECT max(notification_id) FROM stored_events")
    assert rows(second_database, "SELECT position FROM high_water_mark") == last
    of_customers = "SELECT * FROM customer_tenants ORDER BY 1"
    created = rows(second_database, "SELECT count(*) FROM stored_events WHERE topic = 'tenantry.tenant-created'")
    assert [(len(rows(second_database, of_customers)),)] == created
    due = {scope for (scope,) in rows(second_database, "SELECT scope FROM wakes")}
    assert due == {f"tenant:t{number}" for number in range(12)}
    assert rows(second_database, "SELECT name, position FROM projection_positions") == [("integration", *last[0])]
    with sealing_keys(second_database) as keys:
        going_on = PostgresEventLog(second_database, keys)
        assert append(going_on, Stories(8, tenants=1, prefix="new").take(1)) == last[0][0] + 1
        going_on.close()


def test_without_its_keys_a_log_is_imported_and_its_persons_are_forgotten(
    exports: Exports, second_database: str, tmp_path: Path
) -> None:
    exports(tmp_path / "log", Choice("jsonl"))
    assert take_in(second_database, tmp_path / "log").without_keys > 0
    read_model = str(rebuilt(second_database))
    assert "ada@example.com" not in read_model
    assert FORGOTTEN in read_model
    seal(second_database)
    assert not verify(second_database).findings


def test_no_person_stands_in_an_export(exports: Exports, tmp_path: Path) -> None:
    exports(tmp_path / "log", Choice("jsonl"))
    exports.keys(tmp_path / "keys")
    assert "ada@example.com" not in (tmp_path / "log").read_text() + (tmp_path / "keys").read_text()
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0


def test_duckdb_reads_the_parquet_day_by_day(exports: Exports, tmp_path: Path) -> None:
    exports(tmp_path / "log", Choice("parquet"))
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "day=2026-01-01",
        "day=2026-01-02",
        "manifest.json",
    ]
    read = f"FROM read_parquet('{tmp_path}/log/*/*.parquet', hive_partitioning = true)"
    days = asked(f"SELECT day::text, count(*) {read} GROUP BY 1 ORDER BY 1")
    assert days == [("2026-01-01", COUNT - 50), ("2026-01-02", 50)]
    stored = asked(f"SELECT position, stream, version, topic, state {read} ORDER BY 1")
    assert stored == rows(exports.url, EVERYTHING)
    [(of_tenant,)] = asked(f"SELECT count(*) {read} WHERE tenant_id = 't3'")
    assert of_tenant == len([row for row in stored if ":t3" in row[1] and row[1].split(":")[1] == "t3"])
    [(state, id_)] = asked(f"SELECT decode(state), id {read} LIMIT 1")
    assert json.loads(state)["id"] == id_


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_proof_in_an_export_leads_to_its_checkpoint(
    exports: Exports, tmp_path: Path, form: Literal["jsonl", "parquet"]
) -> None:
    exported = exports(tmp_path / "log", Choice(form, with_proofs=True))
    assert exported.manifest.checkpoint is not None
    checkpoint = Note.parse(exported.manifest.checkpoint).checkpoint
    leaves = {}
    with SealStore(exports.url) as store, store.looking():
        for row in store.leaves(0, 2**62):
            leaves[int.from_bytes(row[6:14], "big")] = leaf_hash(bytes(row))
    unproved = 0
    proofs = list(proofs_in(tmp_path / "log", form))
    for position, leaf, path in proofs:
        if path is None:
            assert leaf is None
            unproved += 1
            continue
        assert leaf is not None
        assert verify_inclusion(leaves[position], leaf, checkpoint.size, path, checkpoint.root)
    assert (len(proofs), unproved) == (COUNT, 50)


def proofs_in(path: Path, form: str) -> Iterator[tuple[int, int | None, list[bytes] | None]]:
    """Position, leaf and path of each event."""
    if form == "parquet":
        yield from asked(f"SELECT position, leaf, proof FROM read_parquet('{path}/*/*.parquet') ORDER BY 1")
        return
    for event in map(json.loads, path.read_text().splitlines()):
        proof = event["proof"]
        yield event["position"], event["leaf"], proof and [base64.b64decode(each) for each in proof]


def test_one_tenant_or_one_day_is_exported(exports: Exports, tmp_path: Path) -> None:
    day = next(fact for fact in Stories(7, tenants=12).take(1)).time.replace(day=2, hour=0, minute=0, second=0)
    assert exports(tmp_path / "since", Choice("jsonl", since=day)).manifest.events == 50
    assert exports(tmp_path / "until", Choice("jsonl", until=day)).manifest.events == COUNT - 50
    exports(tmp_path / "tenant", Choice("csv", tenant="t3"))
    with (tmp_path / "tenant").open(newline="") as file:
        of_tenant = list(csv.DictReader(file))
    expected = [row for row in rows(exports.url, EVERYTHING) if row[1].split(":")[1] == "t3"]
    assert [(row["stream"], row["state"]) for row in of_tenant] == [(row[1], row[4].decode()) for row in expected]
    with pytest.raises(UsageError, match="no tenant t99"):
        exports(tmp_path / "nobody", Choice("jsonl", tenant="t99"))


def test_an_export_that_is_broken_off_leaves_nothing_that_looks_whole(exports: Exports, tmp_path: Path) -> None:
    with psycopg.connect(exports.url) as connection:
        connection.execute("UPDATE stored_events SET state = '{}' WHERE notification_id = 300")
    for form in ("jsonl", "parquet", "csv"):
        with pytest.raises(UnreadableEvent, match="position 300"):
            exports(tmp_path / form, Choice(form))
        assert not (tmp_path / form).exists()
        assert not beside(tmp_path / form).exists()
    with psycopg.connect(exports.url) as connection:
        connection.execute("DELETE FROM stored_events WHERE notification_id = 300")
    exports(tmp_path / "jsonl", Choice("jsonl"))
    assert not (tmp_path / "jsonl.partial").exists()
    with pytest.raises(UsageError, match="there already"):
        exports(tmp_path / "jsonl", Choice("jsonl"))


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_export_of_a_log_that_is_ten_times_as_long_takes_no_more_memory(
    migrated_database: str, tmp_path: Path, form: Form
) -> None:
    stories, exports = Stories(7, tenants=12), Exports(migrated_database)
    peaks = []
    for count in (COUNT, 9 * COUNT):
        with sealing_keys(migrated_database) as keys, closing(PostgresEventLog(migrated_database, keys)) as written:
            append(written, stories.take(count))
        seal(migrated_database)
        exports(tmp_path / f"imports-{count}", Choice(form, with_proofs=True))  # pyarrow is there from now on
        held = pa.proxy_memory_pool(pa.system_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(held)
        tracemalloc.start()
        try:
            exports(tmp_path / f"log-{count}", Choice(form, with_proofs=True))
            peaks.append(tracemalloc.get_traced_memory()[1] + held.max_memory())
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)
    assert peaks[1] < 1.5 * peaks[0], f"{peaks}: more than proofs grow with the depth of the tree"


@pytest.mark.endurance
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_export_that_is_killed_anywhere_has_its_name_only_if_it_is_whole(
    exports: Exports, tmp_path: Path, form: str
) -> None:
    kills = killed("export", exports.url, str(tmp_path / "log"), form)
    assert len(kills) == AT_RANDOM + AT_THE_END + 1
    assert any(not kill["named"] for kill in kills[AT_RANDOM:])
    assert any(kill["named"] for kill in kills), "no kill came between the naming and the end"
    whole = _contents(tmp_path / "whole")
    assert _contents(tmp_path / "log") == whole
    for kill in kills:
        if kill["named"]:
            assert kill["manifest"], kill
            assert _contents(tmp_path / f"whole-{kill['place']}") == whole, kill
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.endurance
def test_an_import_that_is_killed_anywhere_has_left_nothing_or_all(
    exports: Exports, second_database: str, tmp_path: Path
) -> None:
    file, keys = tmp_path / "log", tmp_path / "keys"
    exports(file, Choice("jsonl"))
    exports.keys(keys)
    kills = killed("import", second_database, str(file), str(keys))
    assert len(kills) > AT_RANDOM
    tables = ("stored_events", "data_keys", "wakes", "customer_tenants", "projection_positions")
    for kill in kills[:-1]:
        assert [kill[table] for table in tables] == [0] * 5, kill
    assert kills[-1]["stored_events"] in (0, COUNT)
    assert rows(second_database, EVERYTHING) == rows(exports.url, EVERYTHING)
    assert rows(second_database, "SELECT count(*) > 0 FROM wakes") == [(True,)]


def killed(*arguments: str) -> list[dict[str, Any]]:
    """What was left after each kill."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.history.killing", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def _contents(path: Path) -> dict[str, bytes]:
    """The files of an export and their bytes."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {str(each.relative_to(path)): each.read_bytes() for each in files}


def test_what_is_no_whole_export_is_refused_and_nothing_of_it_stays(
    exports: Exports, second_database: str, tmp_path: Path
) -> None:
    file, keys = tmp_path / "log", tmp_path / "keys"
    exports(file, Choice("jsonl"))
    exports.keys(keys)
    lines = file.read_text().splitlines(keepends=True)
    strange = lines[4].replace('"topic":"tenantry.', '"topic":"unheard.')
    newer = lines[4].replace('\\"v\\":1', '\\"v\\":9')
    cases = [
        ("".join(lines[:-1]), "cut off"),
        ("".join(lines)[:-9], f"line {COUNT}"),
        ("".join([*lines[:6], "{}\n", *lines[6:]]), "line 7 .*is missing"),
        ("".join([*lines[:6], lines[7], lines[6], *lines[8:]]), "line 8 .*out of order"),
        ("".join([*lines[:4], strange, *lines[5:]]), "line 5 .*unknown topic unheard"),
        ("".join([*lines[:4], newer, *lines[5:]]), "line 5 .*schema version 9.*update it"),
    ]
    broken = tmp_path / "broken"
    for text, why in cases:
        broken.write_text(text)
        shutil.copy(beside(file), beside(broken))
        with pytest.raises(TenantryError, match=why):
            take_in(second_database, broken)
    beside(broken).unlink()
    with pytest.raises(UsageError, match="manifest"):
        take_in(second_database, broken)
    exports(tmp_path / "part", Choice("jsonl", tenant="t3"))
    with pytest.raises(UsageError, match="a part of a log"):
        take_in(second_database, tmp_path / "part")
    with pytest.raises(UsageError, match="master key does not fit"):
        take_in(second_database, file, keys, master=MasterKey(bytes(32)))
    keys_lines = keys.read_text().splitlines(keepends=True)
    keys.write_text("".join(keys_lines[:-1]))
    with pytest.raises(UsageError, match="cut off"):
        take_in(second_database, file, keys)
    for table in ("stored_events", "data_keys", "wakes"):
        assert rows(second_database, f"SELECT count(*) FROM {table}") == [(0,)]

    take_in(second_database, file)
    with pytest.raises(UsageError, match="not empty"):
        take_in(second_database, file)
    assert Manifest.of(file).events == COUNT


# -- an export that somebody has edited ---------------------------------------------------------------------------


EDITED = 300
"""The line that is edited: its event is sealed."""


def edited(lines: list[str], change: Callable[[dict[str, Any]], object]) -> str:
    """The export, its line EDITED changed as somebody with an editor would."""
    said = json.loads(lines[EDITED - 1])
    change(said)
    return "".join([*lines[: EDITED - 1], json.dumps(said) + "\n", *lines[EDITED:]])


def other_state(said: dict[str, Any]) -> None:
    said["state"] = said["state"].replace('"corr":"', '"corr":"x')


def other_state_and_hash(said: dict[str, Any]) -> None:
    other_state(said)
    event = (said["position"], said["stream"], said["version"], said["topic"], said["state"].encode())
    said["leaf_hash"] = base64.b64encode(leaf_hash(leaf_of(event))).decode()


@pytest.mark.parametrize(
    ("change", "with_proofs", "names_it"),
    [
        (other_state, False, True),
        (other_state_and_hash, True, True),
        (other_state_and_hash, False, False),
        (lambda said: said.update(stream=said["stream"] + "x", leaf_hash=said["leaf_hash"]), False, True),
        (lambda said: said.update(recorded_at="2026-06-01T00:00:00+00:00"), False, True),
        (lambda said: said.update(id="00000000-0000-0000-0000-000000000000"), False, True),
        (lambda said: said.update(version=said["version"] + 100), False, True),
    ],
)
def test_an_edited_export_is_refused_with_the_position(
    exports: Exports,
    second_database: str,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
    with_proofs: bool,
    names_it: bool,
) -> None:
    file = tmp_path / "log"
    exports(file, Choice("jsonl", with_proofs=with_proofs))
    lines = file.read_text().splitlines(keepends=True)
    position = json.loads(lines[EDITED - 1])["position"]
    checkpoint = Note.parse(str(Manifest.of(file).checkpoint)).checkpoint
    file.write_text(edited(lines, change))
    why = (
        f"position {position} "
        if names_it
        else f"at least one after position 0 and up to position {checkpoint.position} "
    )
    with pytest.raises(Tampered, match=why):
        take_in(second_database, file)
    assert rows(second_database, "SELECT count(*) FROM stored_events") == [(0,)]


def test_an_event_that_was_taken_out_of_an_export_is_missed(
    exports: Exports, second_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "log"
    exports(file, Choice("jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[: EDITED - 1], *lines[EDITED:]]))
    manifest = beside(file)
    manifest.write_text(manifest.read_text().replace(f'"events": {COUNT}', f'"events": {COUNT - 1}'))
    with pytest.raises(Tampered, match=r"the export has 349 events up to position .* attests 350"):
        take_in(second_database, file)


def test_a_checkpoint_that_was_kept_elsewhere_is_held_against_the_export(
    log: str, exports: Exports, second_database: str, tmp_path: Path
) -> None:
    held = seal(log)
    file = tmp_path / "log"
    exports(file, Choice("jsonl"))
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(edited(lines, other_state_and_hash))
    manifest = Manifest.of(file)
    beside(file).write_text(manifest.model_copy(update={"checkpoint": None}).text())
    with pytest.raises(Tampered, match="attests: at least one"):
        import_log(LogImport(second_database), file, keyring=KEYS, checkpoint=held)
    file.write_text("".join(lines))
    imported = import_log(LogImport(second_database), file, keyring=KEYS, checkpoint=held)
    assert imported.attested == COUNT


def test_a_checkpoint_whose_signature_does_not_hold_is_refused_and_one_of_a_stranger_is_told(
    exports: Exports, second_database: str, tmp_path: Path
) -> None:
    file = tmp_path / "log"
    exports(file, Choice("jsonl"))
    manifest = Manifest.of(file)
    note = Note.parse(str(manifest.checkpoint))
    forged = Note(replace(note.checkpoint, root=bytes(32)), note.signatures)
    beside(file).write_text(manifest.model_copy(update={"checkpoint": str(forged)}).text())
    with pytest.raises(Tampered, match=r"signature of the checkpoint .* does not hold"):
        import_log(LogImport(second_database), file, keyring=KEYS)
    beside(file).write_text(manifest.text())
    stranger = Keyring.parse(Signer.generate("elsewhere.example/log").secret_text())
    imported = import_log(LogImport(second_database), file, keyring=stranger)
    assert imported.unknown_keys == tuple(key_ids(note))
    assert imported.attested == COUNT - 50
