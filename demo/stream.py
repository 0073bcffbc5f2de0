"""Stream of the demo: the events of sixty and more tenants, as in a few weeks of production.

The stream is the same for the same seed. It has every type, both modes of CloudEvents, shuffles, duplicates, stale
revisions, producers without revisions, and every fault of a message.

It consists of waves. A wave is sent when the one before has settled: a product that is deactivated in the second wave
has converged in the first, and is therefore retained. Within a wave the events of a tenant keep the order given here;
those of a tenant with revisions are shuffled; the events of different tenants are mixed. Each story of stories.py is
played at least once, so every seed reaches every level and every rule of the quarantine.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace

from adapters.kafka.strict_json import MAX_BYTES
from demo.entries import Entry, read, write
from demo.stories import FUTURE, SCENARIOS
from demo.telling import Messages, World

__all__ = ["Entry", "read", "stream", "write"]


def stream(
    *,
    seed: int,
    tenants: int,
    commerce_topic: str = "tenantry.commerce",
    lifecycle_topic: str = "tenantry.lifecycle",
) -> list[Entry]:
    """The messages in the order to send them in, wave by wave. At least one tenant a scenario."""
    world = World(random.Random(seed), commerce_topic, lifecycle_topic)  # noqa: S311 - a seed is the point
    for number in range(max(tenants, len(SCENARIOS))):
        scenario = SCENARIOS[number] if number < len(SCENARIOS) else world.rng.choice(SCENARIOS)
        scenario(world.tenant())
    _bad_messages(world)
    return world.entries()


# -- faults of messages --------------------------------------------------------------------------------------------


def _bad_messages(world: World) -> None:
    """One message with each fault, in the second wave, when there is a state to contradict; and one that never ends
    its wait."""
    victim = world.tenants[0]
    activation = victim.offer("confluence", tenant_id=victim.id)
    text = json.dumps(
        {"specversion": "1.0", "id": "x-1", "source": "https://trial.example", "type": "product.activated"}
    )[:-1]
    structured = (("content-type", "application/cloudevents+json"),)
    raw: list[tuple[tuple[tuple[str, str], ...], bytes | None]] = [
        (structured, text.encode()),
        (structured, f'{text}, "data": {{"users": NaN}}}}'.encode()),
        (structured, f'{text}, "id": "x-2", "data": {{}}}}'.encode()),
        (structured, b"\xff\xfe not UTF-8"),
        ((), b'{"order": 4711, "wants": "everything"}'),
        (structured, f'{text}, "data": {{"note": "{"x" * MAX_BYTES}"}}}}'.encode()),
        (structured, None),
        (structured, json.dumps({"specversion": "1.0", "type": "product.activated", "data": activation}).encode()),
    ]
    messages = Messages(shuffled=False)
    messages.entries += [Entry(2, world.lifecycle_topic, victim.id, headers, value) for headers, value in raw]
    bad = [
        world.event("product.exploded", activation),
        world.event("product.activated", {**activation, "product": "jira-hardware"}, revision=1),
        world.event("product.activated", {**activation, "edition": "gold"}, revision=1),
        world.event("product.activated", {**activation, "users": "many"}, revision=1),
        world.event("product.activated", {**activation, "expires": FUTURE}, revision=1),
        world.event("license.updated", {**activation, "status": "suspended"}, revision=1),
        world.event("product.suspended", {"tenant_id": victim.id, "product": "confluence"}, revision=1),
    ]
    messages.entries += [replace(entry, wave=2) for entry in bad]
    world.others.append(messages)
    _contradictions(world)
    _for_a_tenant_that_never_comes(world)


def _contradictions(world: World) -> None:
    """The same revision, the same id, or the same tenant id, with other content."""
    tenant = world.tenant()
    tenant.messages.shuffled = False
    tenant.created("confluence")
    licensed = {**tenant.offer("confluence", users=100), "status": "active"}
    tenant.say("license.updated", licensed, revision=50)
    id_ = world.uuid()
    data = {"tenant_id": tenant.id, **licensed, "users": 101}
    tenant.messages.entries.append(world.event("license.updated", data, revision=51, id_=id_))
    tenant.next_wave()
    tenant.say("license.updated", {**licensed, "users": 999}, revision=51)
    other = world.event("license.updated", {**data, "users": 1}, revision=52, id_=id_)
    tenant.messages.entries.append(replace(other, wave=2))
    tenant.site_name += "-again"
    tenant.created()


def _for_a_tenant_that_never_comes(world: World) -> None:
    messages, nobody = Messages(), world.uuid()
    offer = {"tenant_id": nobody, "product": "compass", "edition": "free", "users": 3}
    messages.entries.append(world.event("product.activated", offer, revision=1))
    world.others.append(messages)
