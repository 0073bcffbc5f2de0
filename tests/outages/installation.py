"""A whole Tenantry on servers that a test can take away, and everything that is judged of it.

`Installation` is one `tenantry up` with all its workers, in processes of their own; its database, its broker, its
shards and the provisioner of step 7 of one product are behind wires. The test itself looks past the wires.

    load ──▶ broker ──wire──▶ intake ──wire──▶ database ◀──wire── projector, provisioner, relay
                                                              provisioner ──wire──▶ shards, webhook
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
import time
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from adapters.resources.topology import Shard, Topology
from demo.oracle import Disagreement, compare, expect
from demo.reading import Refused, read_event
from domain.errors import Unavailable
from tests.fakes.provisioner import SECRET, Provisioner, serving
from tests.journeys.running import ROOT, Result, Running, tenantry
from tests.outages.load import Kept, Load, Stream, Topics
from tests.outages.servers import Broker, DatabaseServer
from tests.outages.wire import Wire

CONTROL: Final = "control"
SHARDS: Final = (("eu-1", "schema"), ("us-1", "database"))
KINDS: Final = ("intake", "projector", "provisioner", "relay")
COMPASS: Final = """
[products.compass.executors.7]
webhook = "{address}"
secret = "compass"
"""

Progress = dict[str, int]
"""How far each worker has come: a number that only grows while it works."""

_PROGRESS: Final = """
SELECT (SELECT coalesce(sum(next_offset), 0) FROM kafka_positions)::bigint AS intake,
       (SELECT coalesce(min(position), 0) FROM projection_positions)::bigint AS projector,
       (SELECT coalesce(max(notification_id), 0) FROM stored_events WHERE topic = 'tenantry.step-completed')
           AS provisioner,
       (SELECT coalesce(max(notification_id), 0) FROM stored_events
        WHERE topic = 'tenantry.step-completed' AND originator_id LIKE 'family:%') AS shard,
       (SELECT coalesce(max(position), 0) FROM relay_positions)::bigint AS relay
"""

_UNREST: Final = """
SELECT (SELECT coalesce(sum(next_offset), 0) FROM kafka_positions)::bigint,
       (SELECT count(*) FROM wakes WHERE due_at < now() + interval '10 s') + (SELECT count(*) FROM leases),
       (SELECT count(*) FROM provisionings WHERE state = 'in_progress'),
       (SELECT coalesce(max(notification_id), 0) FROM stored_events)
           - (SELECT coalesce(min(position), 0) FROM projection_positions)
"""


class Installation:
    """Use as a context manager. `root` is the checkout whose `up` runs."""

    def __init__(self, *, seed: int = 1, module: str = "cli.main", rate: float = 10, root: Path = ROOT) -> None:
        self._closing = ExitStack()
        self._seed = seed
        self._module = module
        self._root = root
        self._rate = rate
        self.wave = 1
        self.asleep = ""
        """The kind of a worker that sleeps."""
        self.database: DatabaseServer
        self.shard: DatabaseServer
        self.broker: Broker
        self.theirs: Provisioner
        self.webhook: Wire
        self.up: Running
        self.topics: Topics
        self._stream = Stream(seed)
        self._topology: Topology

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    # -- the parts -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        enter = self._closing.enter_context
        directory = Path(enter(tempfile.TemporaryDirectory(prefix="outages-")))
        self.database, self.shard = enter(DatabaseServer("database")), enter(DatabaseServer("shard"))
        self.broker = enter(Broker())
        self.theirs = enter(serving())
        self.webhook = enter(Wire(lambda: self.theirs.port, seed=self._seed))
        self.database.create_database(CONTROL)
        for name, _ in SHARDS:
            self.shard.create_database(_database_of(name))
        self._topology = Topology(
            [
                Shard(name, name[:2], self.shard.direct(_database_of(name)), isolation=isolation)  # type: ignore[arg-type]
                for name, isolation in SHARDS
            ],
            default_region="eu",
        )
        self.up = enter(Running(directory / "data", self._settings(directory), module=self._module, root=self._root))
        self.topics = Topics(self.broker.bootstrap)

    def _settings(self, directory: Path) -> dict[str, str]:
        """Short delays, and no limit to what may change at once: months pass in a minute here."""
        policy = files("domain").joinpath("policy.toml").read_text()
        for setting, value in (("at_least", "100000"), ("attempts", "1000")):
            policy = re.sub(rf"(?m)^({setting} *= *)\S+", rf"\g<1>{value}", policy)
        (directory / "policy.toml").write_text(policy)
        catalog = files("domain").joinpath("catalog.toml").read_text()
        address = f"http://127.0.0.1:{self.webhook.port}/tenantry"
        (directory / "catalog.toml").write_text(catalog + COMPASS.format(address=address))
        (directory / "tenantry.toml").write_text(
            "".join(
                f'[[shards]]\nname = "{name}"\nregion = "{name[:2]}"\nisolation = "{isolation}"\n'
                f'url = "{self.shard.url(_database_of(name))}"\n'
                for name, isolation in SHARDS
            )
        )
        return {
            "TENANTRY_CONFIG": str(directory / "tenantry.toml"),
            "TENANTRY_DATABASE_URL": self.database.url(CONTROL),
            "TENANTRY_KAFKA_BOOTSTRAP": self.broker.bootstrap,
            "TENANTRY_CATALOG_FILE": str(directory / "catalog.toml"),
            "TENANTRY_POLICY_FILE": str(directory / "policy.toml"),
            "TENANTRY_MASTER_KEY": base64.b64encode(b"m" * 32).decode(),
            "TENANTRY_WEBHOOK_SECRETS__COMPASS": SECRET,
            "TENANTRY_LOG_FORMAT": "json",
            "TENANTRY_LEASE_SECONDS": "12",
        }

    def _direct(self) -> str:
        return self.database.direct(CONTROL)

    # -- in ------------------------------------------------------------------------------------------------------------

    def load(self) -> Load:
        return Load(self._stream, lambda: self.broker.bootstrap, rate=self._rate)

    # -- out -----------------------------------------------------------------------------------------------------------

    def logs(self) -> list[Path]:
        """All that the workers and `up` itself write."""
        data = self.up.data_dir
        return [data.with_suffix(".stderr"), *sorted((data / "logs").glob("*.log"))]

    def status(self) -> Result:
        """What an operator sees, through the same wires as everybody."""
        return tenantry("status", "--data-dir", self.up.data_dir, env={**self.up.settings, "COLUMNS": "400"})

    def worker(self, kind: str) -> int:
        """The process of the worker that is alive."""
        rows = self.rows("SELECT pid FROM workers WHERE kind = %s ORDER BY started_at DESC", kind)
        return next(int(pid) for (pid,) in rows if pid in self.up.processes())

    def rows(self, query: str, *values: object) -> list[Any]:
        with psycopg.connect(self._direct(), autocommit=True, connect_timeout=10) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def progress(self) -> Progress:
        ((intake, projector, provisioner, shard, relay),) = self.rows(_PROGRESS.replace("%", "%%"))
        return {
            "intake": intake,
            "projector": projector,
            "provisioner": provisioner,
            "shard": shard,
            "relay": relay,
            "webhook": self.theirs.effects,
        }

    # -- the judgement -------------------------------------------------------------------------------------------------

    def settles(self, load: Load, *, seconds: float) -> None:
        """Everything that Kafka has is taken in and carried out. Raises Unavailable, AssertionError."""
        self.topics.read(wave=self.wave)
        lost = {*load.sent} - {(kept.entry.topic, kept.entry.value) for kept in self.topics.kept}
        assert not lost, f"the broker has lost {len(lost)} messages: that is no fault of ours"
        self._rests(seconds)
        self.wave += 1
        self._stream.next_wave()

    def _rests(self, seconds: float) -> None:
        """Nothing is to be taken in, under way, due within seconds or to be projected, twice in a row."""
        deadline, quiet = time.monotonic() + seconds, 0
        while quiet < 2:
            ((taken_in, *unrest),) = self.rows(_UNREST)
            quiet = quiet + 1 if taken_in >= len(self.topics.kept) and not any(unrest) else 0
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{taken_in} of {len(self.topics.kept)} messages taken in after {seconds:g} s,"
                    " {} scopes due or leased, {} in progress, {} facts to project".format(*unrest)
                )
            time.sleep(0.1)

    def unaccounted(self) -> list[Kept]:
        """Messages on Kafka of which the database knows neither source and id nor the offset.

        Of a message that is no good and comes again only the first offset is kept: its repetitions are counted.
        """
        known = {tuple(row) for row in self.rows("SELECT source, id FROM incoming")}
        quarantined = {tuple(row) for row in self.rows('SELECT topic, partition, "offset" FROM quarantine')}
        bodies = {kept.entry.value for kept in self.topics.kept if kept.place in quarantined}
        return [kept for kept in self.topics.kept if kept.entry.value not in bodies and _name(kept) not in known]

    def disagreements(self) -> list[Disagreement | str]:
        """Everything that is not as the oracle says, given what lies on Kafka."""
        expected = expect(kept.entry for kept in self.topics.kept)
        assert not expected.unsure, expected.unsure
        found = compare(expected, self._direct(), self._topology)
        made: list[Disagreement | str] = [
            each
            for each in found
            # What stands in for the provisioner of others keeps its entitlements itself.
            if not (each.claim.subject == "compass" and each.claim.aspect.startswith("entitlement"))
        ]
        asked = {tenant for tenant, product, step in self.theirs.there if (product, step) == ("compass", 7)}
        for tenant in expected.tenants.values():
            product = tenant.products.get("compass")
            desired_state = product is not None and product.level in ("open", "closed")
            if desired_state != (tenant.id in asked):
                made.append(
                    f"the entitlement of compass of '{tenant.id}' should {'' if desired_state else 'not '}be there"
                )
        return made


def _name(kept: Kept) -> tuple[str, str]:
    try:
        said = read_event(kept.entry)
    except Refused:
        return "", ""
    return said.source, said.id


def _database_of(shard: str) -> str:
    return f"shard_{shard.replace('-', '_')}"


def told(disagreement: Disagreement | str) -> str:
    return disagreement if isinstance(disagreement, str) else json.dumps(list(disagreement.claim), default=str)
