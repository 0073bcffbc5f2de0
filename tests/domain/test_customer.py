"""What does an update of the customer come to?"""

from __future__ import annotations

import pytest

from domain.customer import CustomerMessageStale, CustomerUpdated
from domain.errors import Contradiction, Refused
from tests.domain.given import Commerce

UPDATE = "commerce.customer.updated"
ADA = {"account_id": "ada", "name": "Ada", "email": "ada@example.com", "roles": ["billing"]}
BOB = {"account_id": "bob", "name": "Bob", "email": "bob@example.com", "roles": []}


def versions(commerce: Commerce) -> tuple[int, int]:
    return commerce.customer.metadata_version, commerce.customer.administrators_version


def test_the_first_update_sets_both_versions() -> None:
    commerce = Commerce()
    assert versions(commerce) == (0, 0)
    commerce.says(UPDATE, 1, administrators=[ADA])
    assert versions(commerce) == (1, 1)


def test_new_metadata_leaves_the_version_of_the_administrators() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, 1, administrators=[ADA])
    commerce.says(UPDATE, 2, administrators=[ADA], contacts=["+49 30 1"])
    assert versions(commerce) == (2, 1)


def test_new_administrators_leave_the_version_of_the_metadata() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, 1, administrators=[ADA])
    commerce.says(UPDATE, 2, administrators=[BOB])
    assert versions(commerce) == (1, 2)


def test_an_update_that_says_the_same_under_a_higher_revision_changes_neither_version() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, 1, administrators=[ADA])
    assert isinstance(commerce.says(UPDATE, 2, administrators=[ADA])[0], CustomerUpdated)
    assert versions(commerce) == (1, 1)
    assert commerce.customer.details is not None
    assert commerce.customer.details.revision == 2


def test_a_lower_revision_is_stale_and_changes_nothing() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, 2, administrators=[ADA])
    assert commerce.says(UPDATE, 1, administrators=[BOB]) == [
        CustomerMessageStale(customer_id="c-1", type=UPDATE, revision=1)
    ]
    assert versions(commerce) == (1, 1)
    assert commerce.customer.details is not None
    assert commerce.customer.details.value.administrators[0].account_id == "ada"


def test_the_same_revision_with_other_content_is_a_contradiction() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, 2, administrators=[ADA])
    with pytest.raises(Contradiction):
        commerce.says(UPDATE, 2, administrators=[BOB])
    assert isinstance(commerce.says(UPDATE, 2, administrators=[ADA])[0], CustomerMessageStale)


def test_a_customer_that_has_seen_a_revision_refuses_updates_without_one() -> None:
    commerce = Commerce()
    commerce.says(UPDATE)
    commerce.says(UPDATE, 1)
    with pytest.raises(Refused) as refusal:
        commerce.says(UPDATE)
    assert refusal.value.rule == "revision-missing"


def test_without_revisions_updates_land_in_the_order_of_arrival() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, administrators=[ADA])
    commerce.says(UPDATE, administrators=[BOB])
    assert commerce.customer.details is not None
    assert commerce.customer.details.value.administrators[0].account_id == "bob"


def test_contacts_are_kept_as_the_json_text_that_commerce_sent() -> None:
    commerce = Commerce()
    commerce.says(UPDATE, 1, contacts=[{"phone": "1", "name": "Zoë"}, "fax 2"])
    assert commerce.customer.details is not None
    assert commerce.customer.details.value.contacts == ('{"name":"Zoë","phone":"1"}', '"fax 2"')
