"""Problem texts of the commands: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "access-arguments": ("the arguments do not go together", "name CALLER CALLEE METHOD PATH, or none of them"),
        "access-method-unknown": ("{method} is no method", "write one of {methods}, or COMMAND"),
        "acts-times-reversed": ("no act can be from {since} to {until}", "give the earlier time first"),
        "allow-list-not-utf8": ("{file} is not UTF-8", "save it as UTF-8"),
        "allow-list-unreadable": ("{file} cannot be read: {reason}", "name another with --file"),
        "approval-nothing-pending": (
            "nothing was approved: no change awaits approval, and no plan {plan_hash} was ever approved",
            "check the hash, `tenantry runs approve` prints the current one",
        ),
        "approval-without-reason": (
            "--reason is missing",
            "give the reason for the approval, other operators will need it",
        ),
        "authorizer-address": ("the authorizer cannot listen at {address}", "{reason}"),
        "bench-unknown": ("there is no bench {unknown}", "name one of {benches}, or all"),
        "benches-not-installed": ("the benches are not in the installed package", "run them from a checkout"),
        "check-all-with-sample": ("--all compares every tenant", "leave --sample and --seed out"),
        "checkpoint-no-text": ("checkpoint {path} is no text", "give the file as `checkpoint export` wrote it"),
        "checkpoint-unreadable": ("checkpoint {path}: {reason}", "correct the path"),
        "checkpoint-unsigned": (
            "the newest checkpoint is unsigned",
            "set TENANTRY_SEAL_KEY_FILE and run `tenantry audit seal`",
        ),
        "commerce-with-tenant": ("--commerce compares a full dump", "leave --tenant out"),
        "context-service-address": ("{host}:{port}", "{reason}"),
        "context-service-not-installed": ("the context service needs uvicorn", "install tenantry[context]"),
        "context-service-without-keys": (
            "without an allow-list anybody could ask, so {host} is not listened on, and no key counts",
            "give --allow-list",
        ),
        "credential-service-without-tls": (
            "passwords leave this machine in the clear, so {host} is not listened on",
            "give --certificate and --certificate-key",
        ),
        "dump-unreadable": ("dump {path}: {reason}", "correct the path"),
        "event-no-object": (
            "{file}, line {number}: not a JSON object",
            "write one CloudEvent a line; nothing was sent",
        ),
        "event-refused": ("{file}, line {number}", "{refusal}; nothing was sent"),
        "event-unnamed": ("{text} is neither an event's id nor its position", "give one of the two"),
        "events-file-unreadable": ("{file}: {reason}", "name a file of CloudEvents, one a line"),
        "export-grant-malformed": (
            "{grantee}, {what}{tenant:, tenant %} is no grant",
            "name a service or user@host, the data in lower case as `audit-log`, and a tenant's id",
        ),
        "limits-service-address": ("{host}:{port} cannot be listened on", "{reason}"),
        "limits-service-not-installed": ("the limits service needs uvicorn", "install tenantry[context]"),
        "lost-database-unnamed": ("name the lost database", "--family KEY, or --product KEY of that family"),
        "evidence-unwritable": ("{path} cannot be written: {reason}", "name another with --out"),
        "message-no-number": ("{wrong} is no number of a message", "see `tenantry quarantine list`"),
        "messages-named-twice": (
            "messages are named in two ways",
            "give numbers, or --rule, --source, --type and --tenant, not both",
        ),
        "messages-none-match": ("no open message matches", "see `tenantry quarantine list`"),
        "messages-unnamed": ("no message is named", "give numbers, or --rule, --source, --type or --tenant"),
        "offset-not-kept": (
            "offset {to} of {partition} is not on Kafka",
            "it keeps {start} to {end}, and the next will be {next}",
        ),
        "partition-moved": ("{found} has moved from {position} to {now} meanwhile", "check it and decide again"),
        "partition-unknown": ("the intake has no partition {name}", "it has {there}"),
        "persons-without-reason": ("--persons needs a --reason", "say why you look, it is recorded"),
        "product-not-in-catalogue-then": ("product {product} was in no catalogue at {moment}", "name a later moment"),
        "publish-not-recorded": (
            "{left} of {events} events are not in the log after {seconds} s, {id} of {source} among them",
            "they wait, are quarantined, or no intake runs; see `tenantry status`",
        ),
        "read-model-unnamed": ("no read model is named", "give names, or --all"),
        "reason-without-reread": ("--reason belongs to --reread", "add that, or leave the reason out"),
        "rebuild-failed": (
            "{left}. The live generation of {failures} is as it was",
            "mend that, then start the rebuild again",
        ),
        "rebuild-only-empty": ("--only names no read model", "give some, separated by commas, or leave it out for all"),
        "rejection-nothing-pending": ("nothing was rejected", "no change awaits approval; {parts}"),
        "reread-without-reason": ("--reread takes messages in", "give the reason with --reason"),
        "scope-named-twice": ("{text} names a scope already", "leave {product} out"),
        "scope-unknown-to-runs": ("there is no scope {scope}", "see `tenantry runs list --tenant {tenant_id}`"),
        "seal-key-unset": (
            "no seal key is set",
            "set TENANTRY_SEAL_KEY_FILE; `tenantry up` makes one for embedded parts",
        ),
        "service-key-arguments": (
            "the arguments do not go together",
            "name KEY-ID and --public-key, or neither to write the folder again",
        ),
        "service-key-file-invalid": ("{file}: {reason}", "name a PEM file of a public key"),
        "service-key-file-unreadable": ("{file} cannot be read", "{reason}"),
        "service-key-file-unwritable": ("{file} cannot be written: {reason}", "name a file that is not there yet"),
        "service-key-folder-unwritable": (
            "the log has it, but {where} cannot be written: {reason}",
            "correct it, then run `service-keys publish`",
        ),
        "service-key-name": ("{name} names no service", "write SERVICE/KEY, such as billing/2027-01"),
        "sidecar-directory-too-long": (
            "{directory} is too long a name for a Unix socket in it",
            "name a shorter --dir",
        ),
        "sidecar-directory-unusable": ("the sidecar cannot work in {directory}", "{reason}"),
        "sidecar-key-missing": ("there is no key to sign with", "{reason}"),
        "sidecar-not-installed": ("the sidecar needs uvicorn", "install tenantry[context]"),
        "sidecar-url": ("{bad} is no URL of a service", "begin it with http:// or https://"),
        "timeline-kind-unknown": ("there is no kind {each} of entries", "use {KINDS}"),
    }
)
