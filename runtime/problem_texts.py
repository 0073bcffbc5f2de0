"""Problem texts of the settings, the files beside them, and the reports: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "context-lease-too-short": (
            "setting context_lease_seconds is {context_lease_seconds}",
            (
                "it must exceed {stall} s, which is append_timeout_seconds, 0.25 s of the high-water agent, and"
                " database_failover_seconds together; else every failover refuses all access"
            ),
        ),
        "credentials-no-role": (
            "product {product} of tenant {tenant} has no database role",
            "see `tenantry show {tenant}`",
        ),
        "credentials-shard-unknown": ("shard {shard} is in no adopted configuration", "see `tenantry config check`"),
        "evidence-of-older-key": (
            "the newest checkpoint is signed by an older key, or by none",
            "run `tenantry audit seal` first",
        ),
        "evidence-without-key": (
            "this process has no seal key, and the manifest of an evidence pack is signed",
            "run it where the key is: set TENANTRY_SEAL_KEY_FILE",
        ),
        "file-not-utf8": ("{what} {path} is no text in UTF-8", "correct the path"),
        "file-unreadable": ("{what} {path}: {reason}", "correct the path"),
        "kafka-client-not-installed": (
            "setting kafka_client is confluent-kafka, which is not installed",
            "pip install 'tenantry[fast]', or leave the setting at kafka-python",
        ),
        "no-tenantry-runs": (
            "no Tenantry runs in {data_dir}",
            "start `tenantry up` there, name another --data-dir, or set {missing}",
        ),
        "product-not-in-catalogue": ("product {key} is not in the catalogue", "it has {products}"),
        "scope-malformed": ("{reason}, or TENANT PRODUCT", "see `tenantry runs list`"),
        "shard-databases-missing": (
            "this database user may not create the shards' databases ({names})",
            "create them, give it CREATEDB, or name your own [[shards]] in tenantry.toml",
        ),
        "shard-url-unreadable": ("the url of shard {name} cannot be read", "write postgresql://user:password@host/db"),
        "tenant-not-yet": ("tenant {tenant_id} did not exist yet", "it was created at {time} (position {position})"),
        "tenant-unknown": ("there is no tenant {tenant_id}", "{known}"),
        "tenant-without-messages": ("no message of a tenant {tenant} has ever come in", "see `tenantry tenants`"),
        "topic-missing": ("topic {name} is not there", "run `tenantry migrate`"),
        "traces-not-installed": (
            "setting traces_endpoint is set, and OpenTelemetry is not installed",
            "pip install 'tenantry[otel]', or leave the setting out",
        ),
    }
)
