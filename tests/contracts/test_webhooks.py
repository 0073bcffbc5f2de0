"""What does our side make of each answer that somebody else's provisioner may give, on a real HTTP server?"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from adapters.provisioners.signed_requests import LARGEST_ANSWER_BYTES, SigningSecret
from adapters.provisioners.webhooks import Webhook
from application.ports.resources import Order
from domain.errors import ExecutorError, Fenced, Obstacle, Permanent, Retryable, Unreachable, UsageError
from domain.scope.steps import (
    ConfigurationResult,
    ConfigurationSpec,
    IdentityResult,
    IdentitySpec,
    LicenseResult,
    MembershipResult,
    MembershipSpec,
    RegionResult,
    Scope,
    Step,
)
from domain.stored_form import as_json
from tests.adapters.provisioners.orders import ADA, customer, license_spec, order
from tests.fakes.provisioner import SECRET, SIGNING, Handler, Provisioner, Reply, says, serving, webhook

PRODUCT = "jira-software"
SCOPE = Scope("product", "t-1", PRODUCT)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
PLACED = RegionResult(region="eu", shard="eu-1")
LICENSE = order(SCOPE, Step.LICENSE, license_spec(PRODUCT), generation=5, placement=PLACED, by=customer(ADA))
REMOVAL = msgspec.structs.replace(LICENSE, direction="remove", generation=6)
CONFIGURATION = order(
    SCOPE,
    Step.CONFIGURATION,
    ConfigurationSpec(product=PRODUCT, residency="pinned", region="eu"),
    placement=PLACED,
)


@pytest.fixture
def provisioner() -> Iterator[Provisioner]:
    with serving() as running:
        yield running


@pytest.fixture
def license_(provisioner: Provisioner) -> Webhook:
    return executor(provisioner, Step.LICENSE)


def executor(provisioner: Provisioner, step: Step, *, seconds: float = 5) -> Webhook:
    found = webhook(provisioner, PRODUCT, step, seconds=seconds)
    assert isinstance(found, Webhook)
    return replace(found, now=lambda: NOW)


def failure(executor: Webhook, asked: Order = LICENSE) -> ExecutorError:
    """Why it did not come about; in one short line that quotes nobody."""
    with pytest.raises(ExecutorError) as caught:
        executor.ensure(asked) if asked.direction == "ensure" else executor.remove(asked)
    said = str(caught.value)
    assert said.startswith("the provisioner of jira-software, step ")
    assert said.isprintable()
    assert len(said) < 300
    return caught.value


# -- what is asked -------------------------------------------------------------------------------------------------


def test_an_order_says_all_that_its_provisioner_needs(provisioner: Provisioner, license_: Webhook) -> None:
    facts = license_.ensure(LICENSE)
    assert isinstance(facts, LicenseResult)
    [asked] = provisioner.orders
    assert asked == {
        "idempotency_key": "product:t-1:jira-software/7/ensure/5",
        "tenant_id": "t-1",
        "scope": {"kind": "product", "tenant_id": "t-1", "key": PRODUCT},
        "product": PRODUCT,
        "family": "jira",
        "step": 7,
        "direction": "ensure",
        "generation": 5,
        "region": "eu",
        "wish": as_json(LICENSE.spec),
        "facts": as_json(facts),
    }


def test_every_request_is_signed_over_its_key_its_time_and_its_body(
    provisioner: Provisioner, license_: Webhook
) -> None:
    provisioner.script.append(says(202, {}, Location="/at/1"))
    provisioner.script.append(says(200, {}))
    license_.ensure(LICENSE)
    assert [(method, path) for method, path, _, _ in provisioner.requests] == [("POST", "/tenantry"), ("GET", "/at/1")]
    for _, _, headers, body in provisioner.requests:
        key, at = headers["webhook-id"], int(headers["webhook-timestamp"])
        assert key == headers["idempotency-key"] == LICENSE.idempotency_key
        assert abs(time.time() - at) < 60
        assert headers["webhook-signature"] == SIGNING.sign(key, at, body)
        assert SECRET not in str(headers)


def test_a_signature_is_the_one_that_standard_webhooks_gives_as_its_example() -> None:
    secret = SigningSecret.parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", name="example")
    signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_changed_requests_are_signed_with_both() -> None:
    other = "whsec_" + "b" * 40
    both = SigningSecret.parse(f"{SECRET} {other}", name="both").sign("key", 1, b"body")
    assert both.split() == [
        SIGNING.sign("key", 1, b"body"),
        SigningSecret.parse(other, name="other").sign("key", 1, b"body"),
    ]


@pytest.mark.parametrize("text", ["", "whsec_c2hvcnQ=", "whsec_n@t-in-64", f"{SECRET} whsec_c2hvcnQ="])
def test_a_secret_that_is_none_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="webhook secret mine: write whsec_ and 24 to 64") as caught:
        SigningSecret.parse(text, name="mine")
    assert not any(part in str(caught.value) for part in text.split())


def test_a_provisioner_with_another_secret_refuses_for_good(provisioner: Provisioner, license_: Webhook) -> None:
    stranger = SigningSecret.parse("whsec_" + "b" * 40, name="stranger")
    error = failure(replace(license_, secret=stranger))
    assert isinstance(error, Permanent)
    assert "answered 401: the signature is wrong" in str(error)
    assert provisioner.effects == 0


# -- done ----------------------------------------------------------------------------------------------------------


def test_the_same_order_twice_is_one_effect(provisioner: Provisioner, license_: Webhook) -> None:
    assert license_.ensure(LICENSE) == license_.ensure(LICENSE)
    license_.remove(REMOVAL)
    license_.remove(REMOVAL)
    assert provisioner.effects == 2
    assert provisioner.orders[-1]["facts"] is None


def test_the_answer_says_where_the_entitlement_lies(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(says(200, {"location": "licenses/t-1"}))
    facts = license_.ensure(LICENSE)
    assert isinstance(facts, LicenseResult)
    assert (facts.location, facts.users) == ("licenses/t-1", 10)
    assert msgspec.structs.replace(license_.ensure(LICENSE), location="licenses/t-1") == facts


def test_created_is_done_as_well(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(says(201, {"location": "licenses/t-1"}))
    facts = license_.ensure(LICENSE)
    assert isinstance(facts, LicenseResult)
    assert facts.location == "licenses/t-1"


def test_an_answer_that_is_none_says_which_are(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(says(206, {}))
    assert str(failure(license_)).endswith("answered 206: 200, 201, 204 and 202 are known")
    provisioner.script.append(Reply(200))
    assert str(failure(license_)).endswith("did not answer with application/json: 204 needs none")


def test_settings_of_the_answer_are_stored_beside_ours(provisioner: Provisioner) -> None:
    configuration = executor(provisioner, Step.CONFIGURATION)
    provisioner.script.append(says(200, {"settings": {"workspace": "w-7", "region": "mars"}}))
    facts = configuration.ensure(CONFIGURATION)
    assert isinstance(facts, ConfigurationResult)
    assert facts.settings == provisioner.orders[0]["facts"]["settings"] | {"workspace": "w-7"}
    assert facts.settings["region"] == "eu"


def test_identities_go_along_whole_and_need_no_answer(provisioner: Provisioner) -> None:
    spec = IdentitySpec(product=PRODUCT, groups=(f"{PRODUCT}-users",), administrators_version=1, in_force=True)
    asked = order(SCOPE, Step.IDENTITY, spec, by=customer(ADA))
    provisioner.script.append(Reply(204))
    facts = executor(provisioner, Step.IDENTITY).ensure(asked)
    assert isinstance(facts, IdentityResult)
    assert provisioner.orders[0]["facts"]["users"] == [as_json(ADA)]


def test_a_membership_is_what_was_wished(provisioner: Provisioner) -> None:
    asked = order(SCOPE, Step.SITE, MembershipSpec(product=PRODUCT, access="closed"))
    facts = executor(provisioner, Step.SITE).ensure(asked)
    assert facts == MembershipResult(product=PRODUCT, access="closed")


# -- at work -------------------------------------------------------------------------------------------------------


def test_an_accepted_order_waits_without_holding_a_thread_and_is_asked_for_again(
    provisioner: Provisioner, license_: Webhook
) -> None:
    accepted = says(202, {}, Location="status/1", Retry_After="30")
    provisioner.script.extend([accepted, says(202, {}, Retry_After="7")])
    error = failure(license_)
    assert isinstance(error, Obstacle)
    assert (error.obstacle, error.delay) == ("provisioner:jira-software/7", timedelta(seconds=7))
    provisioner.script.extend([accepted, says(200, {"location": "there"})])
    facts = license_.ensure(LICENSE)
    assert isinstance(facts, LicenseResult)
    assert facts.location == "there"


def test_without_a_status_address_the_order_itself_is_sent_again(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(Reply(202))
    error = failure(license_, REMOVAL)
    assert isinstance(error, Obstacle)
    assert error.delay is None
    license_.remove(REMOVAL)
    assert [asked["idempotency_key"] for asked in provisioner.orders] == [REMOVAL.idempotency_key] * 2


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/status", "https://127.0.0.1/x", "//elsewhere.example/x", "http://[", "file:///etc"]
)
def test_a_status_address_elsewhere_is_never_asked(provisioner: Provisioner, license_: Webhook, location: str) -> None:
    provisioner.script.append(says(202, {}, Location=location))
    error = failure(license_)
    assert isinstance(error, Permanent)
    assert "a status address that is not its own" in str(error)
    assert len(provisioner.requests) == 1


def test_a_status_address_that_is_not_known_any_more_is_no_refusal(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.extend([says(202, {}, Location="/gone"), Reply(404)])
    assert isinstance(failure(license_), Retryable)


# -- refused -------------------------------------------------------------------------------------------------------


def test_a_lower_generation_is_fenced(provisioner: Provisioner, license_: Webhook) -> None:
    license_.remove(REMOVAL)
    assert isinstance(failure(license_), Fenced)
    assert provisioner.effects == 0


def test_precondition_failed_says_the_same(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(Reply(412))
    assert isinstance(failure(license_, REMOVAL), Fenced)


def test_a_refusal_gives_its_reason_in_one_line_and_names_no_person(
    provisioner: Provisioner, license_: Webhook
) -> None:
    detail = "edition\nunknown to Ada  Admin <ada@acme.example> of ACME GmbH\x1b[31m" + "!" * 1000
    problem = says(422, {"type": "about:blank", "detail": detail}, content_type="application/problem+json")
    provisioner.script.append(Reply(422, problem.body, {"content-type": "application/problem+json"}))
    error = failure(license_)
    assert isinstance(error, Permanent)
    assert "answered 422: edition unknown to (personal)" in str(error)
    assert not any(word in str(error).lower() for word in ("ada", "acme"))


@pytest.mark.parametrize("detail", ["x" * 60_000, "y " * 30_000, "ada@acme.example" * 4_000, "Ada Admin " * 6_000])
def test_a_reason_without_end_is_cut_and_costs_no_time(
    provisioner: Provisioner, license_: Webhook, detail: str
) -> None:
    provisioner.script.append(says(400, {"detail": detail}))
    began = time.monotonic()
    error = failure(license_)
    assert "ada" not in str(error).lower()
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("body", [b"<h1>no</h1>", b'{"detail": 7}', b"", b"[]"])
def test_a_refusal_without_a_reason_that_can_be_read_is_one_all_the_same(
    provisioner: Provisioner, license_: Webhook, body: bytes
) -> None:
    provisioner.script.append(Reply(404, body, {"content-type": "application/problem+json"}))
    error = failure(license_)
    assert isinstance(error, Permanent)
    assert str(error).endswith("answered 404")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(provisioner: Provisioner, license_: Webhook, status: int) -> None:
    provisioner.script.append(Reply(status, b"", {"location": provisioner.address}))
    error = failure(license_)
    assert isinstance(error, Permanent)
    assert "put the final address into the catalogue" in str(error)
    assert len(provisioner.requests) == 1


# -- not now -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(provisioner: Provisioner, license_: Webhook, status: int) -> None:
    provisioner.script.append(Reply(status))
    error = failure(license_)
    assert isinstance(error, Unreachable)
    assert error.delay is None
    license_.ensure(LICENSE)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17),
        ("0", 1),
        ("999999999999999999999", None),
        ("86400", 3600),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        (format_datetime(NOW - timedelta(minutes=2), usegmt=True), 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Mon, 01 Jun 2026 00:02:00 -0000", None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("", None),
    ],
)
def test_a_pause_is_kept_within_bounds(
    provisioner: Provisioner, license_: Webhook, text: str, seconds: int | None
) -> None:
    provisioner.script.append(Reply(429, b"", {"retry-after": text}))
    error = failure(license_)
    assert isinstance(error, Unreachable)
    assert error.delay == (timedelta(seconds=seconds) if seconds is not None else None)


def test_a_connection_that_is_refused_is_tried_again(license_: Webhook) -> None:
    error = failure(replace(license_, address="http://127.0.0.1:1/nobody"))
    assert isinstance(error, Unreachable)
    assert str(error).endswith("cannot be reached")


def test_a_provisioner_that_does_not_answer_is_waited_for_so_long_and_no_longer(provisioner: Provisioner) -> None:
    provisioner.script.append(lambda handler: time.sleep(1))
    began = time.monotonic()
    error = failure(executor(provisioner, Step.LICENSE, seconds=0.2))
    assert isinstance(error, Unreachable)
    assert "did not answer within 0.2 s" in str(error)
    assert time.monotonic() - began < 0.9


def drips(handler: Handler) -> None:
    """A body that never ends, a byte at a time."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def test_an_answer_that_drips_is_not_waited_for(provisioner: Provisioner) -> None:
    provisioner.script.append(drips)
    began = time.monotonic()
    error = failure(executor(provisioner, Step.LICENSE, seconds=0.3))
    assert isinstance(error, Unreachable)
    assert "did not finish its answer within 0.3 s" in str(error)
    assert time.monotonic() - began < 0.9


def test_a_connection_that_breaks_off_is_tried_again(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(lambda handler: None)
    error = failure(license_)
    assert isinstance(error, Unreachable)
    assert str(error).endswith("broke off before its answer was whole")
    license_.ensure(LICENSE)


def test_an_answer_that_is_cut_short_is_tried_again(provisioner: Provisioner, license_: Webhook) -> None:
    def cut(handler: Handler) -> None:
        handler.reply(Reply(200, b"{}", {"content-type": "application/json", "content-length": "100"}))

    provisioner.script.append(cut)
    assert isinstance(failure(license_), Unreachable)


def test_an_answer_that_is_too_large_is_not_read_to_its_end(provisioner: Provisioner, license_: Webhook) -> None:
    provisioner.script.append(says(200, {"location": "x" * LARGEST_ANSWER_BYTES}))
    error = failure(license_)
    assert isinstance(error, Retryable)
    assert "more than 65536 bytes" in str(error)
    license_.ensure(LICENSE)


@pytest.mark.parametrize(("status", "kind"), [(503, Unreachable), (422, Permanent), (409, Fenced), (307, Permanent)])
def test_of_an_error_with_a_page_of_any_size_the_status_counts(
    provisioner: Provisioner, license_: Webhook, status: int, kind: type[ExecutorError]
) -> None:
    provisioner.script.append(says(status, {"detail": "x" * LARGEST_ANSWER_BYTES}))
    error = failure(license_)
    assert type(error) is kind
    assert f"answered {status}" in str(error)
    license_.ensure(LICENSE)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"{}", {"content-type": "text/html"}),
        Reply(200, b"{}"),
        Reply(200, b"", {"content-type": "application/json"}),
        Reply(200, b"\xff\xfe", {"content-type": "application/json"}),
        Reply(200, b"[" * 60_000, {"content-type": "application/json"}),
        Reply(200, b"{}", {"content-type": "application/json", "content-encoding": "gzip", "content-length": "1"}),
        says(200, []),
        says(200, {"locaton": "mistyped"}),
        says(200, {"location": "x" * 1025}),
        says(200, {"location": ""}),
        says(200, {"location": "a\x00b"}),
        says(200, {"location": "\ud800"}),
        says(200, {"settings": {"a": "not of this step"}}),
        Reply(206, b"{}", {"content-type": "application/json"}),
    ],
    ids=lambda reply: reply.body[:20].decode(errors="replace") or "empty",
)
def test_an_answer_that_does_not_fit_counts_as_none(provisioner: Provisioner, license_: Webhook, reply: Reply) -> None:
    provisioner.script.append(reply)
    assert isinstance(failure(license_), Retryable)
    license_.ensure(LICENSE)


@pytest.mark.parametrize(
    "settings",
    [
        {"Not a name": "x"},
        {"a": "x" * 1025},
        {"a": 1},
        {"a": "\x00"},
        {"a\n": "x"},
        {f"n{number}": "" for number in range(65)},
    ],
    ids=["name", "long", "number", "nul", "newline", "many"],
)
def test_settings_are_bounded(provisioner: Provisioner, settings: object) -> None:
    provisioner.script.append(says(200, {"settings": settings}))
    assert isinstance(failure(executor(provisioner, Step.CONFIGURATION), CONFIGURATION), Retryable)


# -- the way there -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate and key of localhost that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + signed.public_bytes(Encoding.PEM)
    )
    return path


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with serving(certificate) as provisioner:
        error = failure(executor(provisioner, Step.LICENSE))
    assert isinstance(error, Retryable)
    assert "no certificate that this machine trusts" in str(error)
    assert not provisioner.requests


def test_authorities_of_ones_own_are_named_by_the_usual_variable(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(certificate) as provisioner:
        executor(provisioner, Step.LICENSE).ensure(LICENSE)
        elsewhere = replace(executor(provisioner, Step.LICENSE), address=f"https://127.0.0.1:{provisioner.port}/")
        error = failure(elsewhere)
    assert len(provisioner.requests) == 1
    assert "no certificate that this machine trusts" in str(error)


def test_no_proxy_of_the_environment_sees_a_request(
    provisioner: Provisioner, license_: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    license_.ensure(LICENSE)
    assert json.loads(provisioner.requests[0][3])["step"] == 7
