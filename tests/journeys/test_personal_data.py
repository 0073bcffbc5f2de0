"""Does a person's name or address lie anywhere in the clear but in the read models that are about persons?"""

from __future__ import annotations

from uuid import uuid4

from tests.journeys.events import COMMERCE, LIFECYCLE, Event, Raw, activated, created, customer_updated, new_tenant
from tests.journeys.running import Running, wait_for
from workers.roles import KINDS

SECRET = f"secret{uuid4().hex}"
"""In every personal field of the journey's events, and in the malformed ones."""

MAY_HOLD_PERSONS = {"customers", "identity_users", "configurations"}
"""`configurations` shows the name of the organisation."""


def test_no_personal_field_lies_in_a_dump_of_the_log_the_waiting_room_or_the_quarantine(tenantry: Running) -> None:
    tenant, unknown, customer = new_tenant(), new_tenant(), f"customer-{uuid4()}"
    founder = {"account_id": "f", "name": f"Founder {SECRET}", "email": f"founder@{SECRET}.example"}
    administrator = {"account_id": "a", "name": f"Admin {SECRET}", "email": f"admin@{SECRET}.example"}
    update = customer_updated(customer, administrator)
    update = Event(update.type, {**update.data, "name": SECRET, "contacts": [f"c@{SECRET}.example", {"phone": SECRET}]})
    stale = created(tenant, "atlas", customer=customer, administrator={**founder, "name": f"Other {SECRET}"})
    events = [update, created(tenant, "atlas", customer=customer, administrator=founder), stale]
    waits = Event("tenant.destroyed", {"tenant_id": unknown, "reason": f"asked by x@{SECRET}.example"})
    mail = f"somebody@{SECRET}.example"
    bad: list[Event | Raw] = [
        Raw(LIFECYCLE, tenant.encode(), b'{"email": "%b"' % mail.encode()),
        Raw(LIFECYCLE, tenant.encode(), mail.encode(), ()),
        Raw(LIFECYCLE, mail.encode(), b'{"%b": 1}' % mail.encode(), (("ce_subject", mail.encode()),)),
        activated(tenant, "no-such-product", reason=mail),
        activated(tenant, "atlas", users=mail),
        Event("product.suspended", {"tenant_id": mail, "product": mail, "reason": mail}),
        Event("tenant.created", {**stale.data, mail: mail, "administrator": mail}),
        Event("commerce.customer.updated", {**update.data, "administrators": [{"email": mail}]}),
        Raw(COMMERCE, None, mail.encode()),
    ]
    before = tenantry.one("SELECT count(*) FROM quarantine")
    tenantry.send(*events, waits, *bad)
    tenantry.until_taken_in(*events, waits)
    expected = before + len(bad) + 1  # the second tenant.created is a contradiction
    wait_for(lambda: tenantry.one("SELECT count(*) FROM quarantine") == expected, "all bad ones in quarantine")
    tenantry.until_level(tenant, "atlas", "open")

    rows = tenantry.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    tables = {row["tablename"] for row in rows}
    assert {"stored_events", "waiting", "quarantine", "incoming", "outbox", "workers"} < tables
    dumps = {table: dump(tenantry, table) for table in tables}
    assert SECRET in dumps["identity_users"], "the read model that is about persons does hold them"
    assert {table for table, text in dumps.items() if SECRET in text} <= MAY_HOLD_PERSONS
    logs = sorted((tenantry.data_dir / "logs").iterdir())
    assert len(logs) == len(KINDS)
    for file in [*logs, tenantry.data_dir.with_suffix(".stderr"), *tenantry.data_dir.glob("postgres/*.log")]:
        assert SECRET not in file.read_text(errors="replace"), file

    listed = tenantry.cli("quarantine", "list", "--json").stdout + tenantry.cli("quarantine", "list").stdout
    assert SECRET not in listed, "a list is looked at over shoulders, pasted and logged"
    newest = max(tenantry.json("quarantine", "list"), key=lambda entry: int(entry["number"]))
    assert SECRET in tenantry.cli("quarantine", "show", newest["number"], "--json").stdout, "nothing is lost"


def dump(tenantry: Running, table: str) -> str:
    """Every column of every row as text, bytes as what they spell."""
    rows = tenantry.rows(f"SELECT t::text AS whole FROM {table} t")
    text = "\n".join(row["whole"] for row in rows)
    if table == "stored_events":
        states = tenantry.rows("SELECT convert_from(state, 'UTF8') AS state FROM stored_events")
        text += "\n".join(row["state"] for row in states)
    return text
