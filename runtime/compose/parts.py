"""Parts: a process with the configuration in use, the event log and what stands on it; what nearly every process has.

Each thing is opened when it is first asked for, and its libraries are imported then.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from domain.configuration import Adopted
from runtime import proposal
from runtime.compose.process import Process, new_id, pool_of, utc_now

if TYPE_CHECKING:  # each is imported by the property that makes it
    from sqlalchemy import Engine

    from adapters.encryption import PostgresEncryptionKeys
    from adapters.postgres.connection import Limits
    from adapters.postgres.event_log import PostgresEventLog
    from adapters.postgres.past import PastLog
    from adapters.resources.topology import Topology
    from application.adoption import Adoption
    from application.reconcile import Saga
    from domain.catalog import Catalog
    from domain.configuration import Configuration, Living
    from domain.policy import Policy
    from runtime.instance import Endpoints
    from runtime.settings import Settings


class Parts(Process):
    """A process that knows which configuration is in use, and reads and writes the log."""

    def __init__(
        self,
        settings: Settings,
        endpoints: Endpoints,
        *,
        warn: Callable[[str], None] = lambda _: None,
        limits: Limits | None = None,
    ) -> None:
        """`limits` are those of reading the log and the read models, where somebody waits for a page."""
        super().__init__(settings, endpoints)
        self.warn = warn
        self._limits = limits
        self.adopted = Adopted()
        self._configuration: Configuration | None = None

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
        self.made_of_configuration.clear()

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
        """The configuration in use at a position of the log."""
        return self.past.adopted_at(position).configuration or self.at_hand

    @cached_property
    def adopting(self) -> Adoption:
        from application.adoption import Adoption  # noqa: PLC0415

        return Adoption(log=self.log, living=self._living, clock=utc_now, new_id=new_id)

    def _living(self, before: Configuration | None, proposed: Configuration) -> Living:
        from adapters.postgres.living_products import living  # noqa: PLC0415

        return living(
            self.endpoints.database_url,
            known=before.catalog if before is not None else None,
            proposed=proposed.catalog,
            events_of=lambda tenant_id: self.past.events_of(tenant_id, self.log.advance_mark()),
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
        from adapters.postgres.connection import LONG  # noqa: PLC0415
        from adapters.postgres.past import PastLog  # noqa: PLC0415

        self.knock()
        return self.closing(PastLog(self.endpoints.database_url, self.keys, limits=self._limits or LONG))

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
        from adapters.postgres.connection import SHORT  # noqa: PLC0415
        from adapters.postgres.engine import engine  # noqa: PLC0415

        made = engine(self.endpoints.database_url, pool_size=2, limits=self._limits or SHORT)
        self.at_the_end(made.dispose)
        return made
