"""Does `tenantry service-keys` publish and revoke keys with who and why, and keep private ones to their owner?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from domain.service_keys import STREAM, ServiceKeyPublished, ServiceKeyRevoked
from domain.stored_form import to_json
from tenantry_client.asap import KeyFolder, Refused, Signer, SigningKey, Verifier
from tests.cli.conftest import Desk
from tests.clients.asap.mutants import OTHER_RSA_KEY, public_pem

FOLDER = Path(".tenantry/service-keys")
NEW = ("service-keys", "new", "billing/2027-01", "--reason", "its first", "--private-key", "billing.pem")


def verifier() -> Verifier:
    return Verifier("engine", KeyFolder(FOLDER, max_age=0), may_call=lambda _: True)


def test_a_new_key_signs_and_is_verified_until_it_is_revoked(desk: Desk) -> None:
    desk.says(*NEW, "--kind", "p256", "--as", "Ada")
    assert Path("billing.pem").stat().st_mode & 0o777 == 0o600
    token = Signer("billing", SigningKey.read("billing/2027-01", Path("billing.pem"))).token("engine")
    assert verifier().verify(token).issuer == "billing"

    said = desk.says("service-keys", "revoke", "billing/2027-01", "--reason", "a laptop was stolen")
    assert "billing/2027-01 is revoked" in said
    with pytest.raises(Refused, match="not known, or was revoked"):
        verifier().verify(token)


def test_each_act_answers_programs_in_json_without_a_private_key(desk: Desk) -> None:
    made = desk.json(*NEW, "--show")
    assert made == {"key_id": "billing/2027-01", "state": "in force", "private_key": "billing.pem", "unknown_files": []}
    assert desk.json("service-keys", "publish") == {"key_id": None, "unknown_files": []}
    revoked = desk.json("service-keys", "revoke", "billing/2027-01", "--reason", "lost")
    assert revoked == {"key_id": "billing/2027-01", "state": "revoked", "unknown_files": []}


def test_the_private_key_is_printed_only_when_asked_for(desk: Desk) -> None:
    assert "PRIVATE" not in desk.says(*NEW)
    again = [each.replace("2027-01", "2027-02").replace("billing.pem", "second.pem") for each in NEW]
    assert desk.says(*again, "--show").endswith(Path("second.pem").read_text())
    facts = desk.parts.log.load({STREAM: 0})[STREAM]
    assert all(b"PRIVATE" not in to_json(fact.event) for fact in facts)


def test_who_and_why_are_in_the_log_and_among_the_acts(desk: Desk) -> None:
    desk.says(*NEW, "--as", "Ada")
    desk.says("service-keys", "revoke", "billing/2027-01", "--reason", "a laptop was stolen", "--as", "Bo")
    published, revoked = (fact.event for fact in desk.parts.log.load({STREAM: 0})[STREAM])
    assert isinstance(published, ServiceKeyPublished)
    assert isinstance(revoked, ServiceKeyRevoked)
    assert (published.operator.split()[0], published.reason) == ("Ada", "its first")
    assert (revoked.operator.split()[0], revoked.reason) == ("Bo", "a laptop was stolen")
    (key,) = desk.json("service-keys", "list")
    assert (key["state"], key["reason"], key["revoked_reason"]) == ("revoked", "its first", "a laptop was stolen")
    desk.work()
    acts = [json.loads(line) for line in desk.says("acts", "--what", "service key", "--json").splitlines()]
    assert [act["what"] for act in acts] == ["service key published", "service key revoked"]
    assert [act["details"]["key_id"] for act in acts] == ["billing/2027-01"] * 2


def test_a_service_that_makes_its_own_key_publishes_the_public_half(desk: Desk) -> None:
    Path("public.pem").write_bytes(public_pem(OTHER_RSA_KEY))
    publish = ("service-keys", "publish", "support/1", "--public-key", "public.pem", "--reason", "rotation")
    desk.says(*publish)
    assert (FOLDER / "support/1.pem").read_bytes() == public_pem(OTHER_RSA_KEY)
    assert "there already" in desk.says(*publish, code=2)
    other_name = [each.replace("support/1", "support/2") for each in publish]
    assert "was published as support/1" in desk.says(*other_name, code=2)


def test_the_name_of_a_revoked_key_is_not_used_again(desk: Desk) -> None:
    desk.says(*NEW)
    desk.says("service-keys", "revoke", "billing/2027-01", "--reason", "lost")
    again = [each.replace("billing.pem", "second.pem") for each in NEW]
    assert "was revoked" in desk.says(*again, code=2)
    assert not Path("second.pem").exists(), "a private key without a public one is of no use"
    assert "revoked already" in desk.says("service-keys", "revoke", "billing/2027-01", "--reason", "lost", code=2)


def test_the_folder_is_written_anew_from_the_log(desk: Desk) -> None:
    desk.says(*NEW)
    file = FOLDER / "billing/2027-01.pem"
    good = file.read_text()
    file.write_text("damaged")
    desk.says("service-keys", "publish")
    assert file.read_text() == good
    desk.says("service-keys", "publish", "--folder", "elsewhere")
    assert Path("elsewhere/billing/2027-01.pem").read_text() == good


def test_a_key_in_the_folder_that_was_never_published_is_named_and_left(desk: Desk) -> None:
    stranger = FOLDER / "billing/planted.pem"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(public_pem(OTHER_RSA_KEY))
    assert "planted.pem is a key that was never published here" in desk.says("service-keys", "publish", code=1)
    assert stranger.exists()


@pytest.mark.parametrize("name", ["billing", "billing/../support/1", "billing/", "/billing/1", "billing/ключ", "a b/1"])
def test_a_name_that_no_key_can_have_is_refused(desk: Desk, name: str) -> None:
    desk.says("service-keys", "new", name, "--reason", "x", "--private-key", "k.pem", code=2)
    assert not Path("k.pem").exists()


def test_a_file_that_is_there_is_not_overwritten_and_nothing_is_published(desk: Desk) -> None:
    Path("billing.pem").write_text("something of value")
    assert "name a file that is not there yet" in desk.says(*NEW, code=2)
    assert Path("billing.pem").read_text() == "something of value"
    assert desk.json("service-keys", "list") == []


def test_a_key_without_a_reason_is_not_published(desk: Desk) -> None:
    Path("public.pem").write_bytes(public_pem(OTHER_RSA_KEY))
    assert "the reason is empty" in desk.says("service-keys", "publish", "a/1", "--public-key", "public.pem", code=2)
    assert "the reason is empty" in desk.says(*NEW[:3], "--reason", " ", "--private-key", "x.pem", code=2)
    for content in (b"no key", b""):
        Path("public.pem").write_bytes(content)
        wrong = ("service-keys", "publish", "a/1", "--public-key", "public.pem", "--reason", "x")
        assert "name a PEM file of a public key" in desk.says(*wrong, code=2)
    assert desk.json("service-keys", "list") == []
