"""Settings: the values in use, with the type, the bounds and the default of each.

`Settings(...)` by itself reads nothing, so a test depends on no machine; `load_settings` (runtime/settings_layers.py)
reads environment and file.
"""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from runtime.addresses import Bootstrap, PostgresUrl, ProxyUrl

PREFIX = "TENANTRY_"
CONFIG_VARIABLE = "TENANTRY_CONFIG"
CONFIG_FILE = "tenantry.toml"


Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
RegionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")]
Batch = Annotated[int, Field(ge=1, le=1000)]  # what one transaction holds, and what one crash does again


class ShardSettings(BaseModel):
    """A database server that holds the databases of many tenants."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    region: RegionName
    url: PostgresUrl | None = Field(
        default=None,
        description="owner's connection; none = a database of the server that holds the event store",
    )
    public_host: str | None = Field(default=None, description="where product roles reach it; none = as in `url`")
    public_port: int | None = Field(default=None, ge=1, le=65535)
    capacity: int = Field(default=10_000, ge=0, description="in families")
    state: Literal["open", "draining", "closed"] = "open"
    isolation: Literal["schema", "database"] = "schema"

    @property
    def database_name(self) -> str:
        """The database that stands for this shard where it has no server of its own."""
        return database_of_shard(self.name)


def database_of_shard(name: str) -> str:
    return f"shard_{name.replace('-', '_')}"


EMBEDDED_SHARDS = (
    ShardSettings(name="eu-1", region="eu"),
    ShardSettings(name="eu-2", region="eu"),
    ShardSettings(name="us-1", region="us"),
    ShardSettings(name="us-2", region="us"),
)


class Settings(BaseSettings):
    """Everything that can be set, frozen. Times in seconds. Built by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False, env_prefix=PREFIX
    )

    data_dir: Path = Field(default=Path(".tenantry"), description="what the embedded parts keep")
    database_url: PostgresUrl | None = Field(default=None, description="none = the embedded PostgreSQL")
    kafka_bootstrap: Bootstrap | None = Field(
        default=None, description="host:port or [IPv6]:port, several with commas; none = the embedded broker"
    )

    commerce_topic: Topic = "tenantry.commerce"
    lifecycle_topic: Topic = "tenantry.lifecycle"
    provisioning_topic: Topic = "tenantry.provisioning"
    replies_topic: Topic = Field(
        default="tenantry.replies", description="where provisioners of others reply to commands, and call back"
    )
    topic_partitions: int = Field(default=4, ge=1, le=1000, description="of a topic that we create")
    consumer_group: Topic = "tenantry-intake"
    kafka_client: Literal["kafka-python", "confluent-kafka"] = Field(
        default="kafka-python", description="the other is faster and comes with the extra: pip install 'tenantry[fast]'"
    )

    master_key: SecretStr | None = Field(default=None, description="32 bytes in base64")
    master_key_file: Path | None = Field(default=None, description="the same; none = <data_dir>/master.key")

    seal_key: SecretStr | None = Field(
        default=None, description="signs the log's checkpoints; keys of the signed note format, one a line"
    )
    seal_key_file: Path | None = Field(
        default=None, description="the same; none = <data_dir>/seal.key; without any the log is sealed unsigned"
    )
    seal_checkpoint_file: Path | None = Field(
        default=None,
        description="where the newest checkpoint is kept outside the database: nothing is signed that does not continue"
        " it; none = <data_dir>/seal.checkpoint of the embedded database, of another none is kept",
    )
    seal_seconds: float = Field(
        default=60, ge=0, le=86_400, allow_inf_nan=False, description="how often the relay seals; 0 = only by command"
    )

    export_without_grant: int = Field(
        default=100_000, ge=0, description="events that `audit export` writes at most without `--grant`"
    )

    site_domain: str = Field(default="tenantry.example", pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$")
    catalog_file: Path | None = Field(default=None, description="products, to be adopted; none = those in the package")
    policy_file: Path | None = Field(
        default=None, description="retention, retries, destroy guard, to be adopted; none = those in the package"
    )

    webhook_secrets: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="name -> `whsec_` and base64: what signs our requests to provisioners of others",
    )
    webhook_secrets_file: Path | None = Field(
        default=None, description="the same, as TOML; the environment goes before it"
    )
    egress_proxy: ProxyUrl | None = Field(
        default=None,
        description="http://host:port of the proxy that requests to webhooks go through; none = they go directly",
    )

    shards: tuple[ShardSettings, ...] = Field(
        default=(),
        description="to be adopted, but for their urls; none = eu-1, eu-2, us-1 and us-2 on the embedded server",
    )
    default_region: RegionName = Field(default="eu", description="where a tenant lives that names no region")
    append_timeout_seconds: Seconds = Field(
        default=2.0, description="an append that stays open longer is ended: while it is, no reader moves on"
    )
    intake_batch: Batch = Field(default=1000, description="messages in one transaction, at most")
    projector_batch: Batch = Field(default=1000, description="events in one transaction, at most")
    provisioner_threads: int = Field(default=8, ge=1, le=64, description="steps that run side by side")
    provisioner_claim: Batch = Field(default=256, description="scopes in one claim, recorded in one commit")
    provisioner_tenant_share: int = Field(
        default=16, ge=1, le=1000, description="scopes of one tenant that one worker holds: a large one leaves room"
    )
    provisioner_executor_limit: int = Field(
        default=6, ge=1, le=64, description="steps of one of our executors that run side by side in one worker"
    )
    provisioner_shard_limit: int = Field(
        default=4, ge=1, le=64, description="steps that one worker brings about on one shard side by side"
    )
    provisioner_foreign_limit: int = Field(
        default=2,
        ge=1,
        le=64,
        description="orders that wait for one provisioner of others; for all of them together: half the threads",
    )
    lease_seconds: Seconds = Field(default=30, description="after it another worker may take the scope")
    poll_seconds: Seconds = Field(default=0.05, description="what a lost wake-up costs")
    sweep_interval_seconds: float = Field(
        default=86_400,
        ge=0,
        le=31_536_000,
        allow_inf_nan=False,
        description="how often the background sweep looks whether all is there; 0 = never",
    )
    sweep_pause_milliseconds: int = Field(
        default=20, ge=0, le=60_000, description="its pause for each tenant that it has looked at"
    )
    drain_seconds: Seconds = Field(default=8, description="from SIGTERM until unfinished work is let go")

    traces_endpoint: str | None = Field(
        default=None,
        description="where a worker sends its traces by OTLP: http://collector:4318/v1/traces; needs tenantry[otel];"
        " none = no traces, no library of them is loaded",
    )
    traces_ratio: float = Field(
        default=0.01, ge=0, le=1, description="share of the traces that is sampled, by their ids: always the same ones"
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65_530,
        description="where a worker serves /metrics, /livez and /readyz; under `up` the intake takes this port,"
        " projector, contexts, provisioner, relay and context-service the next ones; none = nowhere",
    )
    metrics_address: str = Field(
        default="127.0.0.1",
        pattern=r"^[0-9A-Fa-f:.]{2,45}$",
        description="on which address of this machine; nothing there asks for a password",
    )
    context_lease_seconds: Seconds = Field(
        default=30,
        description="T: for how long a cache of tenant contexts may answer after it was cut off; it must exceed"
        " append_timeout_seconds, 0.25 s and database_failover_seconds together",
    )
    database_failover_seconds: float = Field(
        default=20, ge=0, le=3600, allow_inf_nan=False, description="until the database takes writes again, elsewhere"
    )
    context_port: int = Field(
        default=0, ge=0, le=65535, description="of the context service that `up` starts on the loopback; 0 = a free one"
    )

    console_proxies: tuple[str, ...] = Field(
        default=(),
        description="addresses or networks (10.0.0.0/8) of the proxies before the console whose headers say who asks",
    )
    console_user_header: HeaderName = Field(default="X-Forwarded-User", description="of such a proxy: the name")
    console_groups_header: HeaderName = Field(
        default="X-Forwarded-Groups", description="of such a proxy: the groups, with commas"
    )
    console_issuer: str = Field(
        default="proxy",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}$",
        description="what acts have after the name: the identity provider of the proxy",
    )
    console_token: SecretStr | None = Field(
        default=None,
        min_length=20,
        description="of the console on the loopback; none = a new one at each start, so that browsers must come anew",
    )
    console_viewer_groups: tuple[str, ...] = Field(default=(), description="groups that may read in the console")
    console_operator_groups: tuple[str, ...] = Field(
        default=(), description="groups that may retry, hold, release, ensure and restore there"
    )
    console_approver_groups: tuple[str, ...] = Field(
        default=(), description="groups that may approve and reject there what the destroy guard holds"
    )
    console_read_url: PostgresUrl | None = Field(
        default=None,
        description="a login of the event store that only reads, for the console's pages; none = that of database_url"
        " with a role that only reads",
    )

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @field_validator("console_proxies")
    @classmethod
    def _proxies_are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for number, proxy in enumerate(proxies, 1):
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(f"entry {number} is no address and no network: write 10.0.0.5 or 10.0.0.0/8") from None
        return proxies

    @field_validator("shards")
    @classmethod
    def _shard_names_are_unique(cls, shards: tuple[ShardSettings, ...]) -> tuple[ShardSettings, ...]:
        names = [shard.name for shard in shards]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two shards are named {twice[0]}: give each a name of its own")
        return shards

    @model_validator(mode="after")
    def _regions_exist(self) -> Self:
        there = ", ".join(sorted(self.regions))
        if self.default_region not in self.regions:
            raise ValueError(f"setting default_region: no shard is in {self.default_region}: set one of {there}")
        return self

    @property
    def topology(self) -> tuple[ShardSettings, ...]:
        """The shards that are there: those that were named, or else the embedded four."""
        return self.shards or EMBEDDED_SHARDS

    @property
    def regions(self) -> frozenset[str]:
        return frozenset(shard.region for shard in self.topology)

    @property
    def master_key_path(self) -> Path:
        return self.master_key_file or self.data_dir / "master.key"

    @property
    def seal_key_path(self) -> Path:
        return self.seal_key_file or self.data_dir / "seal.key"

    @property
    def seal_checkpoint_path(self) -> Path | None:
        embedded = self.data_dir / "seal.checkpoint" if self.database_url is None else None
        return self.seal_checkpoint_file or embedded
