"""Parts of a process: settings, the configuration in use, the event log and what stands on it.

`Parts` opens each thing when it is first asked for, and closes all of them together. What only one process or command
needs is in its own module of this package, made once for the same parts by `once`.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast
from uuid import UUID, uuid4

from domain.configuration import Adopted
from runtime import proposal

if TYPE_CHECKING:  # each is imported by the property that makes it
    from sqlalchemy import Engine

    from adapters.encryption import PostgresEncryptionKeys
    from adapters.postgres.event_log import PostgresEventLog
    from adapters.postgres.past import PastLog
    from adapters.postgres.sessions import Pool
    from adapters.resources.topology import Topology
    from application.adoption import Adopting
    from application.reconcile import Saga
    from domain.catalog import Catalog
    from domain.configuration import Configuration, Living
    from domain.policy import Policy
    from runtime.instance import Endpoints
    from runtime.settings import Settings


class Closable(Protocol):
    """What `Parts` closes at its end."""

    def close(self) -> None: ...


T = TypeVar("T")
C = TypeVar("C", bound=Closable)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Parts:
    """What a process is made of. Use as a context manager; leaving it closes what was opened."""

    def __init__(
        self, settings: Settings, endpoints: Endpoints, *, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self.warn = warn
        self.adopted = Adopted()
        self._configuration: Configuration | None = None
        self._closing = ExitStack()
        self._made: dict[object, Any] = {}
        self._made_of_configuration: dict[object, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def closing(self, thing: C) -> C:
        """The thing, which is closed with these parts."""
        self._closing.callback(thing.close)
        return thing

    def at_the_end(self, act: Callable[[], object]) -> None:
        """Call it when these parts are left."""
        self._closing.callback(act)

    def once(self, make: Callable[[Parts], T]) -> T:
        """What `make` makes of these parts, made once."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast("T", self._made[make])

    def once_per_configuration(self, make: Callable[[Parts], T]) -> T:
        """As `once`, and made anew of another configuration."""
        if make not in self._made_of_configuration:
            self._made_of_configuration[make] = make(self)
        return cast("T", self._made_of_configuration[make])

    # -- configuration ------------------------------------------------------------------------------------------------

    @cached_property
    def at_hand(self) -> Configuration:
        """What files and settings say: a proposal, which counts as long as nothing was adopted."""
        return proposal.proposed(self.settings)

    @property
    def configuration(self) -> Configuration:
        """What every process uses."""
        if self._configuration is None:
            self.adopted = self.adopting.adopted()
            self._configuration = self.adopted.configuration or self.at_hand
            if warning := proposal.warning(self.adopted, self.settings):
                self.warn(warning)
        return self._configuration

    @property
    def catalog(self) -> Catalog:
        return self.configuration.catalog

    @property
    def policy(self) -> Policy:
        return self.configuration.policy

    def use(self, configuration: Configuration) -> None:
        """From here on this is the configuration: what was made of another one is made anew when it is asked for."""
        self._configuration = configuration
        if "topology" in self.__dict__:
            self.topology.use(
                proposal.shards_of(configuration.topology, self.settings, self.endpoints),
                default_region=configuration.topology.default_region,
                patience=proposal.patience_of(configuration.policy),
            )
        self._made_of_configuration.clear()

    def learn(self) -> None:
        """Use what was adopted since."""
        adopted = self.adopting.adopted()
        if adopted.version != self.adopted.version and (found := adopted.configuration) is not None:
            self.adopted = adopted
            self.use(found)

    def configuration_in_use(self) -> Iterator[str]:
        """Which one it is, and where another was looked for, in lines for people."""
        _ = self.configuration
        return proposal.in_use(self.adopted, self.settings)

    def configuration_at(self, position: int) -> Configuration:
        """The one that held at a position of the log."""
        return self.past.adopted_at(position).configuration or self.at_hand

    @cached_property
    def adopting(self) -> Adopting:
        from application.adoption import Adopting  # noqa: PLC0415

        return Adopting(log=self.log, living=self._living, clock=utc_now, new_id=new_id)

    def _living(self, before: Configuration | None, proposed: Configuration) -> Living:
        from adapters.postgres.living_products import living  # noqa: PLC0415

        return living(
            self.endpoints.database_url,
            known=before.catalog if before is not None else None,
            proposed=proposed.catalog,
            facts_of=lambda tenant_id: self.past.facts_of(tenant_id, self.log.advance_mark()),
        )

    # -- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def master_key(self) -> bytes:
        from runtime.master_key import load_master_key  # noqa: PLC0415

        return load_master_key(self.settings)

    @cached_property
    def topology(self) -> Topology:
        from adapters.resources.topology import Topology  # noqa: PLC0415

        configuration = self.configuration
        return self.closing(
            Topology(
                proposal.shards_of(configuration.topology, self.settings, self.endpoints),
                default_region=configuration.topology.default_region,
                patience=proposal.patience_of(configuration.policy),
                keep=self.settings.provisioner_shard_limit,
            )
        )

    # -- the event log ------------------------------------------------------------------------------------------------

    def knock(self) -> None:
        """Raises Unavailable where the database does not answer."""
        from adapters.postgres.connection import connect  # noqa: PLC0415

        connect(self.endpoints.database_url).close()

    @cached_property
    def keys(self) -> PostgresEncryptionKeys:
        from adapters.encryption import MasterKey, PostgresEncryptionKeys  # noqa: PLC0415

        return PostgresEncryptionKeys(
            self.closing(pool_of(self.endpoints.database_url, keep=2)), MasterKey(self.master_key)
        )

    @cached_property
    def log(self) -> PostgresEventLog:
        from adapters.postgres.event_log import PostgresEventLog  # noqa: PLC0415

        timeout = self.settings.append_timeout_seconds
        return self.closing(PostgresEventLog(self.endpoints.database_url, self.keys, append_timeout_seconds=timeout))

    @cached_property
    def past(self) -> PastLog:
        from adapters.postgres.past import PastLog  # noqa: PLC0415

        self.knock()
        return self.closing(PastLog(self.endpoints.database_url, self.keys))

    @cached_property
    def saga(self) -> Saga:
        from application.reconcile import Saga  # noqa: PLC0415

        return Saga(
            self.log,
            catalog=self.catalog,
            policy=self.policy,
            clock=utc_now,
            new_id=new_id,
            dice=random.random,
        )

    @cached_property
    def engine(self) -> Engine:
        """For the read models."""
        from adapters.postgres.engine import engine  # noqa: PLC0415

        made = engine(self.endpoints.database_url, pool_size=2)
        self.at_the_end(made.dispose)
        return made


def once(make: Callable[[Parts], T]) -> Callable[[Parts], T]:
    """A function that makes one thing of the parts of a process, and gives the same thing again."""

    @wraps(make)
    def made(parts: Parts) -> T:
        return parts.once(make)

    return made


def once_per_configuration(make: Callable[[Parts], T]) -> Callable[[Parts], T]:
    """As `once`; the thing is made anew when another configuration is used."""

    @wraps(make)
    def made(parts: Parts) -> T:
        return parts.once_per_configuration(make)

    return made


def pool_of(url: str, *, keep: int) -> Pool:
    """Sessions of the control database."""
    from adapters.postgres.connection import connect  # noqa: PLC0415
    from adapters.postgres.sessions import Pool  # noqa: PLC0415

    return Pool(lambda: connect(url, autocommit=True), keep=keep)


def new_id() -> UUID:
    """As uuid4, but the operating system is asked for randomness once for many: each time takes it 15 microseconds."""
    while True:
        try:
            return UUID(bytes=_randomness.pop(), version=4)
        except IndexError:
            drawn = os.urandom(16 * 256)
            _randomness.extend(drawn[at : at + 16] for at in range(0, len(drawn), 16))


_randomness: list[bytes] = []
os.register_at_fork(after_in_child=_randomness.clear)  # or two processes would draw the same


def worker_name(kind: str) -> str:
    """Unique among all workers that ever run: the same pid on the same host may come again."""
    return f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def lease_of(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.lease_seconds)
