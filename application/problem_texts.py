"""Problem texts: the sentence and the remedy of each code of an error, for what people read (CLI, HTTP, quarantine).

domain/problem_text.py says what a template may hold. docs/reference/errors.md is generated from this table and those of
the outer rooms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from domain.errors import Code, Problem, TenantryError
from domain.problem_text import ProblemText


def sentence(error: Problem | BaseException) -> str:
    """One line for people: what is wrong, and what to do. An error without a problem says it itself."""
    if isinstance(error, BaseException):
        if not isinstance(error, TenantryError) or error.problem is None:
            return str(error)
        error = error.problem
    return TEXTS[error.code].sentence(error.data) if error.code in TEXTS else str(error)


MEANINGS: Final[Mapping[Code, str]] = {
    "bad-attribute": "An attribute of the CloudEvent is missing, or has a wrong form",
    "bad-data": "The data of the event does not fit its schema",
    "empty": "The message has no value",
    "not-cloudevent": "The message is no CloudEvent in binary or structured mode",
    "not-json": "The value is not JSON in UTF-8, or holds what cannot be stored",
    "too-large": "The value, or a list in it, is beyond the limit",
    "undecodable": "Kafka's own format of the message is damaged",
    "unknown-type": "The type of the event is unknown",
    "unsupported-mode": "The mode, or the format, of the CloudEvent is not read",
}
"""What the codes mean whose sentence is that of the reader of messages: it says the place, and the remedy."""

_DETAIL: Final = ProblemText("{detail}", "")
_CORRECT: Final = "commerce must send the correction under a higher revision"
_GRANT: Final = "`tenantry access grant-export` gives another"
_SHOW: Final = "see `tenantry runs show {scope}`"
_ORPHANS: Final = "read the list with `tenantry orphans`, then name its plan"

TEXTS: Final[Mapping[str, ProblemText]] = {
    # a message is refused
    **dict.fromkeys(MEANINGS, _DETAIL),
    "already-active": ProblemText("product {product} is active", "change its license with license.updated"),
    "already-held": ProblemText("{change} of product {product} awaits approval already", "approve or reject that"),
    "already-suspended": ProblemText("product {product} is suspended already", "there is nothing to do"),
    "internal-error": ProblemText(
        "an unexpected error in Tenantry, {error}, fingerprint {fingerprint}",
        "the log of the worker shows it under that; retry the message with a version that is mended",
    ),
    "not-active": ProblemText("product {product} is not active", "activate it first"),
    "not-suspended": ProblemText("product {product} is not suspended", "there is nothing to do"),
    "revision-missing": ProblemText("{subject} is kept by revision", "send the event again with its revision"),
    "same-revision-other-content": ProblemText(
        "revision {revision} of {subject} came before with {difference}", _CORRECT
    ),
    "site-name-reserved": ProblemText(
        "the site name {site_name} is reserved",
        "take another one, or strike it off reserved_site_names in the policy and retry the message",
    ),
    "tenant-destroyed": ProblemText(
        "tenant {tenant} was destroyed and its restore window is over", "create a new tenant"
    ),
    "tenant-id-used-twice": ProblemText(
        "tenant {tenant} exists with other data", "a tenant id is never used again, take a new one"
    ),
    "unknown-edition": ProblemText("product {product} has no edition {edition}", "it has {known}"),
    "unknown-product": ProblemText(
        "product {product} is not in the catalogue", "adopt one that has it, then retry the message"
    ),
    # an operator's command is refused
    "approval-needed": ProblemText("{change}", "see `tenantry runs approve`"),
    "duration-malformed": ProblemText(
        "{text} is no time of at most {longest} days", "write it as 90s, 30m, 2h or 1d12h"
    ),
    "database-not-missing": ProblemText(
        "the database of {scope} is there", "`tenantry runs retry {scope}` opens it again"
    ),
    "database-not-found-missing": ProblemText(
        "nobody has found the database of {scope} missing", "`tenantry reconcile --tenant {tenant}` looks"
    ),
    "hold-already-over": ProblemText(
        "a hold of {scope} until {until} would be over already", "name a later time, or none"
    ),
    "export-budget-used-up": ProblemText("grant {grant} is used up: it was for {rows} rows and {bytes} bytes", _GRANT),
    "export-grant-ended": ProblemText("the grant would end at {until}, which is over", "name a later time"),
    "export-grant-for-other-data": ProblemText("grant {grant} is for {what}", _GRANT),
    "export-grant-for-other-tenant": ProblemText("grant {grant} is for tenant {tenant} alone", _GRANT),
    "export-grant-over": ProblemText("grant {grant} has ended at {until}", _GRANT),
    "export-grant-revoked": ProblemText("grant {grant} was revoked by {by}", _GRANT),
    "export-grant-unknown": ProblemText("this caller has no grant {grant}", "`tenantry access exports` names all"),
    "message-settled": ProblemText("message {number} is {state} already", "only an open one can be {becomes}"),
    "message-stays": ProblemText("message {number} stays in quarantine", "{reason}"),
    "no-database": ProblemText("{scope} has no database that could be lost", _SHOW),
    "not-destroyed": ProblemText("tenant {tenant} is not destroyed", "there is nothing to restore"),
    "nothing-to-ensure": ProblemText("{scope} is absent, there is nothing to ensure", _SHOW),
    "nothing-to-release": ProblemText("nothing of {scope} is on hold", _SHOW),
    "nothing-to-retry": ProblemText("nothing of {scope} has failed or is on hold", _SHOW),
    "only-purges-held": ProblemText(
        "only purges await approval, which cannot be rejected", "they wait until they are approved"
    ),
    "orphan-plan-changed": ProblemText(
        "what is there is not plan {plan} any more"
        "{unseen:; not looked at: %}{gone:; no longer there, or no orphan: %}{new:; new: %}",
        _ORPHANS,
    ),
    "orphan-plan-unknown": ProblemText("no plan {plan} was shown", _ORPHANS),
    "orphans-implausible": ProblemText(
        "{found}",
        "it looks like the wrong log or the wrong server, so nothing is removed. Check TENANTRY_DATABASE_URL and the"
        " shards; or raise [drift] in the policy, where it is so",
    ),
    "plan-changed": ProblemText(
        "what awaits approval is not plan {plan}, it is plan {pending}",
        "read it with `tenantry runs approve`, then name that one",
    ),
    "reason-empty": ProblemText("the reason is empty", "give one, other operators will need it"),
    "reason-too-long": ProblemText("the reason is {length} characters long", "use {longest} at most"),
    "recreation-under-way": ProblemText("{scope} is being made anew already", _SHOW),
    "restore-window-over": ProblemText(
        "the restore window of tenant {tenant} was over, and its purge began at {purge_began}",
        "its data is gone or going, create a new tenant",
    ),
    "scope-failed": ProblemText("{scope} has failed", "`tenantry runs retry {scope}` tries it again"),
    "scope-moved": ProblemText(
        "{scope} has moved since: version {seen} was seen, now it is {now}", "look at it again, then decide"
    ),
    "scope-not-converged": ProblemText("{scope} has not converged, its steps are ensured anyway", _SHOW),
    "scope-on-hold": ProblemText(
        "{scope} is on hold{by: by %} ({reason})", "`tenantry runs release {scope}` lets it go on"
    ),
    "scope-on-hold-already": ProblemText("{scope} is on hold already{by: by %} ({reason})", "release it first"),
    "scope-unknown": ProblemText("there is no scope {scope}", "see `tenantry runs list --tenant {tenant}`"),
    "service-key-name-used": ProblemText(
        "the key {key} is there already, or was revoked", "give the new key a name of its own"
    ),
    "service-key-published": ProblemText("this key was published as {key}", "make another key"),
    "service-key-revoked": ProblemText("the key {key} was revoked already by {by}", "there is nothing to do"),
    "service-key-unknown": ProblemText("there is no key {key}", "`tenantry service-keys list` names all"),
    "shard-unreachable": ProblemText(
        "shard {shard} does not answer ({reason}), and unreachable is not absent", "repeat this when it does"
    ),
    "step-failed": ProblemText(
        "{scope} is on hold because a step failed ({reason})", "mend that, then `tenantry runs retry {scope}`"
    ),
    # a configuration is refused
    "file-invalid": ProblemText("{file} {source}", "{place}: {detail}"),
    "file-not-toml": ProblemText("{file} {source}", "not TOML: {detail}"),
    "product-moved": ProblemText(
        "product {product} has {here} here and {adopted} in what was adopted, and tenants live on it",
        "keep that, or give the other product a key of its own",
    ),
    "retired-in-file": ProblemText("catalogue {source}: retired", "leave the product away, it is retired by that"),
    "shard-moved": ProblemText(
        "shard {shard} holds families and cannot move to region {region}",
        "give it the region it had ({adopted}), and name a new shard for the other",
    ),
    # the engine stops, or decides again
    "drift-implausible": ProblemText(
        "too much is missing on {places}: nothing is recorded",
        "check the addresses of the shards, or raise [drift] in the policy",
    ),
    "guard-tripped": ProblemText(
        "the destroy guard lets no more pass than{destroys: % destroys}{closings: % closings}",
        "decide again, and hold what is beyond",
    ),
    "intake-halted": ProblemText(
        "the intake has halted",
        "{count} messages met an unexpected error within a minute, so the fault is in Tenantry, not in the messages;"
        " nothing is lost, their positions stay. See the traceback in the log of the intake, install a version that is"
        " mended, and start the intake again",
    ),
}
