"""The rule for host names: one spelling, or a refusal."""

from __future__ import annotations

import pytest

from tenantry_client.context.hosts import host_of, normal_host
from tenantry_client.context.refusals import ContextRefused


@pytest.mark.parametrize(
    ("sent", "normal"),
    [
        ("acme.example", "acme.example"),
        ("ACME.Example", "acme.example"),
        ("acme.example:8443", "acme.example"),
        ("acme.example.", "acme.example"),
        ("Acme.Example.:80", "acme.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("MÜNCHEN.example", "xn--mnchen-3ya.example"),
        ("XN--MNCHEN-3YA.example", "xn--mnchen-3ya.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("a.example", "a.example"),
        ("localhost", "localhost"),
    ],
)
def test_a_host_has_one_spelling(sent: str, normal: str) -> None:
    assert normal_host(sent) == normal


@pytest.mark.parametrize(
    "sent",
    [
        *("", ".", "..", "a..b", ".a", "a.example..", "[::1]", "[::1]:80", "a_b.example", "a b.example", "a.example:"),
        *("a.example:x", "a.example:123456", "-a.example", "a-.example", "a" * 64 + ".example", "a." * 127 + "example"),
        *("a.example\n", "a\0b", "a/b", "a.example:\uff18\uff10", "a@b.example", "\udcff.example", "\u200b.example"),
    ],
)
def test_what_no_site_can_be_called_is_refused(sent: str) -> None:
    with pytest.raises(ContextRefused) as refused:
        normal_host(sent)
    assert (refused.value.code, refused.value.status) == ("host-invalid", 400)


@pytest.mark.parametrize("headers", [[], [(b"host", b"a"), (b"host", b"b")], [(b"host", "ä.example".encode())]])
def test_a_request_names_one_host_in_ascii(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ContextRefused):
        host_of(headers)
