"""Do the customers say what commerce said last?"""

from domain.customer import CustomerAdministrator, CustomerUpdated
from domain.personal import FORGOTTEN
from domain.tenant.events import Founder, TenantCreated
from projections.customers import CUSTOMERS, PROJECTION, TENANT_CUSTOMERS
from tests.projections.given import history, rows_of

ADA = CustomerAdministrator(account_id="a1", name="Ada", email="ada@example.com", roles=("billing",))


def updated(name: str, *, contacts: tuple[str, ...] = (), revision: int | None = None) -> CustomerUpdated:
    return CustomerUpdated(
        customer_id="c1",
        name=name,
        country="NL",
        contacts=contacts,
        administrators=(ADA,),
        revision=revision,
    )


def test_the_last_update_replaces_the_whole_customer() -> None:
    log = history(updated("Acme", contacts=('{"kind":"phone"}',), revision=1), updated("Acme BV", revision=4))
    assert rows_of(CUSTOMERS, PROJECTION, log) == {
        ("c1",): {
            "name": "Acme BV",
            "country": "NL",
            "contacts": [],
            "administrators": [{"account_id": "a1", "name": "Ada", "email": "ada@example.com", "roles": ["billing"]}],
            "revision": 4,
        }
    }


def test_contacts_are_read_as_the_objects_that_commerce_sent() -> None:
    log = history(updated("Acme", contacts=('{"kind":"phone","value":"+31"}', '"mail"')))
    assert rows_of(CUSTOMERS, PROJECTION, log)["c1",]["contacts"] == [
        {"kind": "phone", "value": "+31"},
        "mail",
    ]


def test_a_forgotten_customer_can_still_be_projected() -> None:
    log = history(updated(FORGOTTEN, contacts=(FORGOTTEN,)))
    row = rows_of(CUSTOMERS, PROJECTION, log)["c1",]
    assert (row["name"], row["contacts"]) == (FORGOTTEN, [FORGOTTEN])


def test_what_json_allows_and_postgresql_does_not_is_replaced() -> None:
    log = history(updated("Acme", contacts=(r'{"note\u0000":"a\u0000b","much":1e999}',)))
    assert rows_of(CUSTOMERS, PROJECTION, log)["c1",]["contacts"] == [{"note\ufffd": "a\ufffdb", "much": "inf"}]


def test_a_tenant_knows_its_customer_whichever_came_first() -> None:
    created = TenantCreated(
        tenant_id="t1",
        customer_id="c1",
        site_name="acme",
        residency="global",
        administrator=Founder(account_id="a1", name="Ada", email="ada@example.com"),
    )
    for log in (history(created, updated("Acme")), history(updated("Acme"), created)):
        assert rows_of(TENANT_CUSTOMERS, PROJECTION, log) == {("t1",): {"customer_id": "c1"}}
