"""Problem texts of the audit: exports, imports, the seal and its checkpoints: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "checkpoint-foreign": (
            "the checkpoint is signed by {whose}, and not validly by a seal key",
            "give one of this log, or add its key",
        ),
        "checkpoint-malformed": (
            "this is no checkpoint of Tenantry",
            "give the file as `tenantry audit checkpoint export` wrote it",
        ),
        "comparison-failed": ("the read models cannot be compared ({reason})", "try again"),
        "comparison-without-tenants": ("there are no tenants to compare", "publish some, or give --all"),
        "event-differs-from-seal": (
            "the event at position {position} was {what} after it was sealed",
            "run `tenantry audit verify` to see where",
        ),
        "event-inserted": (
            "the event at position {position} was inserted into the sealed log",
            "run `tenantry audit verify` to see where",
        ),
        "event-not-in-seal": ("the event at position {position} is not in the seal", "run `tenantry audit verify`"),
        "event-not-sealed": ("the event at position {position} is not sealed yet", "run `tenantry audit seal`"),
        "event-unknown": ("there is no event {event} in the log", "give the id or the position of one that is"),
        "export-checkpoint-forged": (
            "the signature of the checkpoint in {path} does not hold",
            "it was changed, export again",
        ),
        "export-checkpoint-unreadable": ("the checkpoint in {path} cannot be read", "it was changed, export again"),
        "export-cut-off": (
            "{path} has {count} events up to position {last}, its manifest says {events} up to {listed_last}",
            "it was cut off or changed, copy or export it again",
        ),
        "export-event-changed": (
            ("the event at position {position} of the export was changed after it was exported; nothing was imported"),
            "compare it with the log that it came from, and export it again",
        ),
        "export-exceeds-grant": (
            "what is left of grant {grant} is less than this export; nothing was written under its name",
            "`tenantry access grant-export {grantee} --what {what}` gives a larger one",
        ),
        "export-exists": ("{path} is there already", "choose another name, or remove it"),
        "export-folder-missing": ("the folder {parent} is not there", "make it, or choose another"),
        "export-foreign-state": (
            "Tenantry has not written the state of the event at position {position} ({name})",
            "run `tenantry audit verify` to see whether it was changed",
        ),
        "export-leaves-differ": (
            "the export has {size} events up to position {position}, and the checkpoint attests {attested}",
            (
                "some {where} were added or taken away; nothing was imported; compare it with the log that it came"
                " from, and export it again"
            ),
        ),
        "export-needs-grant": (
            "the export has more than {most} events, and nothing was written under its name",
            (
                "`tenantry access grant-export {grantee} --what {what} --rows N --until TIME --reason TEXT` gives a"
                " grant, then add --grant ID; where the log cannot be written to, TENANTRY_EXPORT_WITHOUT_GRANT raises"
                " the bound"
            ),
        ),
        "export-line-differs": (
            (
                "the event at position {event} of the export (line {line}) has another {name} than its state;"
                " nothing was imported"
            ),
            "compare it with the log that it came from, and export it again",
        ),
        "export-line-invalid": ("line {count} of {path} is no event of an export ({reason})", "export it again"),
        "export-line-order": ("line {count} of {path}, position {position}, is out of order", "export it again"),
        "export-line-proof": ("line {count} of {path} has a hash or a proof that cannot be read", "export it again"),
        "export-line-unreadable": ("line {count} of {path}", "{why}"),
        "export-line-without-id": ("line {line} of {path} has no id or no time that can be read", "export it again"),
        "export-roots-differ": (
            "the events of the export are not those that the checkpoint of {size} events attests",
            (
                "at least one {where} was changed; nothing was imported; compare it with the log that it came from,"
                " and export it again"
            ),
        ),
        "export-tenant-unknown": ("there is no tenant {tenant} in the log", "give the id of one that is"),
        "export-times-reversed": ("nothing is recorded from {since} to {until}", "give the earlier time first"),
        "export-unwritable": ("{path} cannot be written ({reason})", "free some space, or choose another place"),
        "import-file-missing": (
            "there is no file {path}",
            "give one that `tenantry audit export --format jsonl` wrote",
        ),
        "import-form": ("{path} is {form}", "import takes what `tenantry audit export --format jsonl` wrote"),
        "import-partial": ("{path} holds a part of a log", "export all of it, without --tenant, --from and --to"),
        "kept-checkpoint-forged": ("the signature of the checkpoint that you gave does not hold", "give another one"),
        "keys-cut-off": ("the keys {path} are cut off", "copy or export them again"),
        "keys-incomplete": (
            "{path} lacks {missing} of the keys that this log is encrypted with",
            "export the keys after the log",
        ),
        "keys-line-invalid": ("line {number} of {path} is no data key ({reason})", "export them again"),
        "keys-unreadable": ("the keys {path} cannot be read ({reason})", "correct the path"),
        "last-checkpoint-unreadable": ("the last checkpoint of the log cannot be read", "run `tenantry audit verify`"),
        "last-signed-invalid": (
            "the last checkpoint {path} is no checkpoint any more",
            "put one in its place that you kept elsewhere, or remove it if you trust the log",
        ),
        "last-signed-unreadable": ("the last checkpoint {path}: {reason}", "let this user read it"),
        "last-signed-unwritable": (
            "the last checkpoint {path} cannot be written ({reason})",
            "correct TENANTRY_SEAL_CHECKPOINT_FILE, or let this user write there; the log was sealed",
        ),
        "manifest-invalid": ("{path} is no manifest of an export that this version reads", "export again"),
        "manifest-unreadable": (
            "the manifest {path} cannot be read ({reason})",
            "an export is whole only with the one that was written beside it",
        ),
        "nothing-sealed": ("nothing is sealed yet", "run `tenantry audit seal`"),
        "proof-fails": ("{reason}", "run `tenantry audit verify` to see where"),
        "proofs-unsealed": ("nothing is sealed yet, so there are no proofs", "run `tenantry audit seal`"),
        "seal-checkpoint-foreign": (
            "the last checkpoint is signed by {note}, not one of the seal keys",
            "add its line to them",
        ),
        "seal-checkpoint-forged": (
            "the signature of the last checkpoint does not hold",
            "run `tenantry audit verify` to see where",
        ),
        "seal-checkpoint-unreadable": (
            "the last checkpoint of the log cannot be read",
            "run `tenantry audit verify` to see where",
        ),
        "seal-consistency-broken": (
            "the seal does not lead from {old} and {new} events to its checkpoint",
            "run `tenantry audit verify` to see where",
        ),
        "seal-discontinued": (
            (
                "the seal of {size} events does not continue the checkpoint of {attested} that was signed here last"
                " ({path})"
            ),
            (
                "run `tenantry audit verify` to see where; if the database was restored from a backup, move that"
                " file away"
            ),
        ),
        "seal-key-missing": (
            "the last checkpoint is signed by {newest}, and no key is set to sign the next",
            "set TENANTRY_SEAL_KEY_FILE, or restore the file from a backup",
        ),
        "seal-path-broken": (
            "the seal over position {position} does not lead to its checkpoint",
            "run `tenantry audit verify` to see where",
        ),
        "seal-proof-range": (
            "there is no proof from {old} to {new}",
            "name two numbers of sealed events, the smaller one first, from 1 to {size}",
        ),
        "seal-tree-broken": ("{reason}", "run `tenantry audit verify` to see where"),
        "seal-unfit": (
            "the seal does not fit its last checkpoint, of {size} events",
            "run `tenantry audit verify` to see where",
        ),
        "seal-without-checkpoint": (
            "the log has a seal without a checkpoint",
            "run `tenantry audit verify` to see where",
        ),
    }
)
