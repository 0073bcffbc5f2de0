"""A tenant that is suspended while its request is under way: refused at the edge within T, on real processes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from access.edge.local_issuer import LocalIssuer
from tenantry_client.context.tenancy import Tenancy
from tests.access.proxies import free_port
from tests.access.real_cloud import TERM, RealCloud, real_cloud
from tests.cli.conftest import TENANT, Desk, desk
from tests.context.processes import wait_until

__all__ = ["desk"]

pytestmark = pytest.mark.endurance

PRODUCT = "jira-software"
ISSUER = LocalIssuer("https://id.example", "edge")
EDGE = """\
[listen]
address = "127.0.0.1:1"
[authorizer]
address = "127.0.0.1:{port}"
[[region]]
name = "{region}"
upstreams = ["127.0.0.1:1"]
[[product]]
prefix = "/"
product = "jira-software"
[[session]]
issuer = "https://id.example"
audience = "edge"
jwks = "{folder}/jwks.json"
carried_in = "authorization"
[identity]
issuer = "edge"
key_id = "edge/1"
private_key = "{folder}/edge.pem"
"""


@pytest.fixture
def cloud(desk: Desk, tmp_path: Path) -> Iterator[RealCloud]:
    desk.work()
    with real_cloud(desk, tmp_path, services=(PRODUCT,)) as found:
        yield found


def start_edge(cloud: RealCloud, region: str) -> None:
    port, file = free_port(), cloud.folder / "edge.toml"
    (cloud.folder / "jwks.json").write_bytes(ISSUER.jwks())
    file.write_text(EDGE.format(port=port, folder=cloud.folder, region=region))
    command = [str(Path(sys.executable).with_name("tenantry")), "edge-authorizer", "--file", str(file)]
    cloud.start("edge", [*command, "--tenancy-dir", str(cloud.tenancy_dir)], ready="/readyz", port=port)


def at_the_edge(cloud: RealCloud, host: str) -> urllib3.BaseHTTPResponse:
    """What the authorizer says of the request; the read models are brought up to date first, as a projector would."""
    cloud.desk.work()
    headers = {"x-forwarded-host": host, "x-forwarded-uri": "/slow", "authorization": f"Bearer {ISSUER.session('a-1')}"}
    return urllib3.request("GET", f"{cloud.urls['edge']}/forward_auth", headers=headers, retries=False, timeout=5.0)


def test_a_suspended_tenant_is_refused_at_the_edge_while_its_request_is_under_way_elsewhere(cloud: RealCloud) -> None:
    tenancy = Tenancy.open(cloud.tenancy_dir)
    wait_until(lambda: tenancy.by_id(TENANT).is_open(PRODUCT), seconds=30, what="the open product")
    context = tenancy.by_id(TENANT)
    start_edge(cloud, context.placement(PRODUCT).region)
    wait_until(lambda: at_the_edge(cloud, context.host).status == 200, what="a request that passes")

    passed = at_the_edge(cloud, context.host)
    token = passed.headers["authorization"]
    done: list[int] = []

    def under_way() -> None:
        url = cloud.urls[PRODUCT] + "/slow"
        answer = urllib3.request("GET", url, headers={"authorization": token}, retries=False, timeout=10.0)
        done.append(answer.status)

    thread = threading.Thread(target=under_way)
    thread.start()
    cloud.desk.comes("product.suspended", product=PRODUCT, reason="unpaid")
    committed = time.monotonic()
    wait_until(lambda: at_the_edge(cloud, context.host).status != 200, seconds=TERM, what="the refusal")
    took, was_under_way = time.monotonic() - committed, not done
    refused = at_the_edge(cloud, context.host)
    thread.join(10)
    assert took < TERM
    assert was_under_way, "the refusal came before the request had ended"
    assert (refused.status, refused.headers["tenancy-refusal"]) == (403, "product-closed")
    assert done == [200], "what has passed goes on"
    tenancy.close()
