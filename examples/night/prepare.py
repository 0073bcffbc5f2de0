"""Files of a night: tenants, a change to each, and a cloud in which another team serves the licenses of Compass."""

import json
import os
import re
import socket
from importlib.resources import files
from pathlib import Path

NUMBER = int(os.environ["NIGHT_TENANTS"])
IMPATIENT = {"first_delay": "PT0.2S", "longest_delay": "PT1S", "obstacle_poll": "PT1S", "unreachable_for": "PT3S"}
"""A day of an outage in a few seconds: after `unreachable_for` a scope is an operator's."""


def text(name: str) -> str:
    return files("domain").joinpath(name).read_text()


def message(number: int, type_: str, revision: int, data: dict[str, object]) -> str:
    tenant = f"night-{number}"
    envelope = {"specversion": "1.0", "id": f"{tenant}-{type_}-{revision}", "source": "/commerce", "type": type_}
    return json.dumps({**envelope, "revision": revision, "data": {"tenant_id": tenant, **data}}) + "\n"


def created(number: int) -> str:
    administrator = {"account_id": f"a-{number}", "name": "Ada", "email": f"ada@{number}.example"}
    site = {"customer_id": f"c-{number}", "site_name": f"night-{number}", "residency": "global"}
    products = [{"product": "compass", "edition": "standard", "users": 10, "revision": 1}]
    return message(number, "tenant.created", 1, {**site, "administrator": administrator, "products": products})


def changed(number: int) -> str:
    license_ = {"product": "compass", "edition": "premium", "users": 20, "status": "active"}
    return message(number, "license.updated", 2, license_)


with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
executor = f'\n[products.compass.executors.7]\nwebhook = "http://127.0.0.1:{port}/"\nsecret = "compass"\n'
Path("port").write_text(str(port))
Path("catalog.toml").write_text(text("catalog.toml") + executor)
policy = text("policy.toml")
for name, value in IMPATIENT.items():
    policy = re.sub(rf'(?m)^{name} = "\w+"', f'{name} = "{value}"', policy)
Path("policy.toml").write_text(policy)
Path("tenants.jsonl").write_text("".join(created(number) for number in range(1, NUMBER + 1)))
Path("change.jsonl").write_text("".join(changed(number) for number in range(1, NUMBER + 1)))
print(f"{NUMBER} tenants, and a change to each of them")
