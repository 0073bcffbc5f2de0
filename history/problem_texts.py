"""Problem texts of history: moments, rebuilds and schemas of the past: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "foreign-view": (
            "the view {schema}.{view} is built on {projection} and would stay with the old tables",
            "drop it, rebuild, and create it again",
        ),
        "outbox-never-rebuilt": ("the outbox of integration events is never rebuilt", "they would all be sent again"),
        "past-not-computable": (
            "the read models of that moment cannot be computed ({reason})",
            "the reason is what the database said: remove it, and ask again",
        ),
        "previous-generation-in-use": (
            "the previous generation of {name} is in use ({reason})",
            "drop what depends on it",
        ),
        "read-model-being-rebuilt": ("{projection} is being rebuilt by another process", "wait for it, or stop it"),
        "read-model-changed": (
            "the live table {table} is not as this version makes it ({differs}), and a rebuild would take that away",
            "migrate and rebuild with the same version; drop a column or an index of yours, create it again after",
        ),
        "read-model-locked": (
            "{name} cannot be swapped, another session has its tables locked ({busy})",
            "end long transactions on it",
        ),
        "read-model-unknown": ("there is no read model {name}", "name one of {known}"),
        "rebuild-broken-off": ("the rebuild was broken off ({reason})", "start it again"),
        "rebuild-worker-killed": ("a worker of the rebuild was killed", "start the rebuild again"),
        "rebuild-worker-lost": ("a worker of the rebuild lost the database ({reason})", "start it again"),
        "schema-being-built": ("schema {schema} is being built by another process", "wait for it, or stop it"),
        "schema-broken-off": ("building schema {schema} was broken off ({reason})", "start it again"),
        "schema-failed": ("{failures}. Schema {schema} is as it was before", "mend that, then build it again"),
        "schema-in-use": (
            "schema {schema} holds, or is used by, what is not ours ({reason})",
            "move that elsewhere, or choose another name",
        ),
        "schema-name-malformed": (
            "{name} is no name for a schema",
            "use lower-case letters, digits and _, up to 63 of them",
        ),
        "schema-name-reserved": (
            "schema {name} is not for this",
            "choose a name that is neither PostgreSQL's nor a generation's",
        ),
        "schema-not-ours": ("schema {schema} exists and is not ours", "choose another name, it is left as it is"),
        "schema-unreadable": ("schema {schema} cannot be looked at ({reason})", "try again"),
        "schema-without-read-models": ("there are no read models in schema {schema}", "see `tenantry replay as-of`"),
        "schemas-not-comparable": ("schemas {first} and {second} cannot be compared ({reason})", "try again"),
    }
)
