"""What `tenantry edge`, `tenantry egress` and `tenantry edge-authorizer` print, and what they say of wrong files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.postgres.memberships import PostgresMemberships
from cli.main import app
from domain.errors import Unavailable
from tests.access.asking import ask, request
from tests.access.cloud import edge
from tests.cli.conftest import Desk

EDGE = """\
[listen]
address = "127.0.0.1:8443"
[[region]]
name = "eu"
upstreams = ["10.0.0.1:8000"]
[[product]]
prefix = "/"
product = "jira-software"
[[session]]
issuer = "https://id.example"
audience = "edge"
jwks = "https://id.example/jwks.json"
carried_in = "cookie"
"""
EGRESS = """\
[[service]]
name = "webhooks"
listen = "127.0.0.1:15001"
allow = ["hooks.example.com:443"]
"""
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edge.toml").write_text(EDGE)
    Path("egress.toml").write_text(EGRESS)


def tenantry(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def test_the_configurations_are_printed_as_their_proxies_read_them() -> None:
    envoy = json.loads(tenantry("edge", "config", "envoy").stdout)
    [listener] = envoy["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8443}
    nginx = tenantry("edge", "config", "nginx").stdout
    assert "auth_request /.tenancy-authorize;" in nginx
    told = json.loads(tenantry("edge", "config", "nginx", "--json").stdout)
    assert (told["proxy"], told["configuration"]) == ("nginx", nginx)
    assert "hooks.example.com" in json.dumps(json.loads(tenantry("egress", "config", "envoy").stdout))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('address = "127.0.0.1:8443"', 'address = "0.0.0.0:8443"', "without TLS the edge listens at 127.0.0.1 only"),
        ('address = "127.0.0.1:8443"', 'address = "127.0.0.1"', "write it as host:port"),
        ("[listen]", '[authorizer]\naddress = "10.0.0.1:9191"\n[listen]', "on one machine: write 127.0.0.1:port"),
        ("[listen]", "[authorizer]\nmembership_seconds = 31\n[listen]", "less than or equal to 30"),
        ('name = "eu"', 'name = "moon"', "region moon has no shard: name one of eu, us"),
        ('prefix = "/"', 'prefix = "/{id}"', "a prefix is a plain path"),
        ('prefix = "/"', 'prefix = "/a/../b"', "is neither a plain segment"),
        ('carried_in = "cookie"', 'carried_in = "query"', "'authorization' or 'cookie'"),
        ('jwks = "', 'junk = 1\njwks = "', "session.1.junk"),
        ("[listen]", "[listen", "is not TOML"),
        (
            'address = "127.0.0.1:8443"',
            'address = "127.0.0.1:8443"\ncertificate = "a;b"\nkey = "k"',
            "holds a blank, a quote",
        ),
    ],
)
def test_what_is_wrong_in_edge_toml_is_said_in_one_line(old: str, new: str, says: str) -> None:
    Path("edge.toml").write_text(EDGE.replace(old, new))
    result = tenantry("edge", "config", "envoy")
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *((name, "addresses are not allowed") for name in ("127.0.0.1:443", "0177.0.0.1:443", "0x7f000001:443")),
        *(
            (name, "addresses are not allowed")
            for name in ("2130706433:443", "[::1]:443", "127.1:443", "1.2.3.0x4:443")
        ),
        *(
            (name, "no DNS name in lower case")
            for name in ("Hooks.example.com:443", "*.example.com:443", "localhost:443")
        ),
        *(
            (name, "no DNS name in lower case")
            for name in ("a_b.example.com:443", "hooks.example.com.:443", "a..b:443")
        ),
        *(
            (name, "write it as name:port")
            for name in ("hooks.example.com", "hooks.example.com:0", "hooks.example.com:x")
        ),
    ],
)
def test_what_is_no_name_is_refused_in_egress_toml(name: str, says: str) -> None:
    Path("egress.toml").write_text(EGRESS.replace("hooks.example.com:443", name))
    result = tenantry("egress", "config", "envoy")
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (EGRESS, "two services are named webhooks"),
        (EGRESS.replace('"webhooks"', '"other"'), "two services listen at 127.0.0.1:15001"),
        ('[[upstream]]\nname = "other.example.com:443"\ncidrs = ["10.0.0.0/8"]\n', "no service may reach upstream"),
        ('[[upstream]]\nname = "hooks.example.com:443"\ncidrs = ["10.0.0.1/8"]\n', "no bits behind the prefix"),
        ('[[upstream]]\nname = "hooks.example.com:443"\ncidrs = []\n', "at least 1 item"),
    ],
)
def test_what_contradicts_itself_is_refused_in_egress_toml(more: str, says: str) -> None:
    Path("egress.toml").write_text(EGRESS + more)
    result = tenantry("egress", "config", "envoy")
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_file_that_is_not_there_is_named() -> None:
    for group in ("edge", "egress"):
        result = tenantry(group, "config", "envoy", "--file", "none.toml")
        assert result.exit_code == 2
        assert "none.toml cannot be read: No such file or directory: name another with --file" in result.stderr


def test_the_authorizer_answers_as_a_process_of_its_own_until_it_is_ended(
    tmp_path: Path, migrated_database: str
) -> None:
    with edge(tmp_path) as found:
        command = [sys.executable, "-m", "cli.main", "edge-authorizer", "--file", str(tmp_path / "edge.toml")]
        variables = {"TENANTRY_DATABASE_URL": migrated_database, "TENANTRY_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
        paths = os.pathsep.join([str(ROOT), str(ROOT / "clients" / "python")])
        process = subprocess.Popen(
            [*command, "--tenancy-dir", str(tmp_path / "tenancy")],
            cwd=tmp_path,
            env={**os.environ, **variables, "PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            asked = request("/ext_authz/", "t-1.example", found.cookie())
            for _ in range(300):
                try:
                    reply = ask(found.authorizer_port, asked)
                except OSError:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    signal.sigtimedwait([], 0.1)
                    continue
                break
            else:
                pytest.fail("the authorizer does not listen")
            assert (reply.status, reply.code) == (503, "membership-unavailable"), (
                "no projector has run on that database"
            )
            assert ask(found.authorizer_port, request("/readyz", "x")).status == 200
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
        assert "Traceback" not in said


def test_who_is_a_member_is_read_from_the_read_models_of_a_real_engine(desk: Desk) -> None:
    founder = ("t-1", "jira-software", "a-1")
    with closing(PostgresMemberships(desk.parts.endpoints.database_url, wait=0.05)) as memberships:
        desk.work()
        assert memberships.is_member(*founder)
        assert not memberships.is_member("t-1", "jira-software", "a-2")
        assert not memberships.is_member("t-1", "confluence", "a-1")
        desk.comes("product.suspended", product="jira-software", reason="unpaid")
        with pytest.raises(Unavailable, match="behind the log"):
            memberships.is_member(*founder)
        desk.work()
        assert not memberships.is_member(*founder), "a suspended product has no permission in force"
        desk.comes("product.unsuspended", product="jira-software")
        desk.work()
        assert memberships.is_member(*founder)
