"""Evidence pack of a tenant, as of the newest checkpoint of the log."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.postgres.message_history import Arrivals
from audit.evidence import Evidence, pack
from domain.errors import UsageError, problem
from history import timeline as timelines
from runtime.compose import utc_now
from runtime.compose.audit import seal_keys_of, seal_of
from runtime.compose.parts import Parts
from runtime.reports.explanation import explanation_at
from runtime.reports.tenant import events_until, tell_at
from runtime.reports.timeline import entry_data


@dataclass(frozen=True, slots=True)
class EvidencePack:
    """The file, and what it holds: `size` and `position` of the checkpoint, `not_sealed` events that are not in it."""

    content: bytes
    events: int
    size: int
    position: int
    not_sealed: int


def evidence_of(parts: Parts, tenant_id: str, *, persons: tuple[str, ...] = ()) -> EvidencePack:
    """`persons` names the read models whose rows are added in the clear; it is for the caller to record that.

    Raises UsageError where the tenant was not there at the checkpoint or this process has no key; Tampered,
    Unavailable.
    """
    signer, seal = seal_keys_of(parts).signer, seal_of(parts)
    if signer is None:
        raise UsageError(problem("evidence-without-key"))
    note = seal.newest()
    if not seal_keys_of(parts).signed_by_the_newest(note):
        raise UsageError(problem("evidence-of-older-key"))
    moment = parts.past.at(str(note.checkpoint.position), now=utc_now())
    events = events_until(parts, tenant_id, moment)
    report = tell_at(parts, tenant_id, moment) if persons else {}
    evidence = Evidence(
        tenant_id,
        {
            "tenant_id": tenant_id,
            "at": {"position": moment.position, "time": moment.time},
            "products": explanation_at(parts, tenant_id, events, moment),
        },
        [entry_data(each) for each in timelines.timeline(events, Arrivals())],
        {name: report[name] for name in persons} if persons else None,
    )
    proofs = seal.prove_each([recorded.position for recorded in events], note)
    later = len(parts.past.events_of(tenant_id, parts.past.mark())) - len(events)
    content = pack(evidence, proofs, str(note), signer)
    return EvidencePack(content, len(proofs), note.checkpoint.size, note.checkpoint.position, later)
