"""Files of a night: tenants with Confluence, Jira for each of them, and a policy that does not wait for a day."""

import json
import os
import re
from importlib.resources import files
from pathlib import Path

NUMBER = int(os.environ["NIGHT_TENANTS"])
IMPATIENT = {"first_delay": "PT0.2S", "longest_delay": "PT1S", "obstacle_poll": "PT1S", "unreachable_for": "PT3S"}
"""A day of an outage in a few seconds: after `unreachable_for` a scope is an operator's."""


def message(number: int, type_: str, revision: int, data: dict[str, object]) -> str:
    tenant = f"night-{number}"
    envelope = {"specversion": "1.0", "id": f"{tenant}-{type_}-{revision}", "source": "/commerce", "type": type_}
    return json.dumps({**envelope, "revision": revision, "data": {"tenant_id": tenant, **data}}) + "\n"


def created(number: int) -> str:
    administrator = {"account_id": f"a-{number}", "name": "Ada", "email": f"ada@{number}.example"}
    site = {"customer_id": f"c-{number}", "site_name": f"night-{number}", "residency": "global"}
    products = [{"product": "confluence", "edition": "standard", "users": 10, "revision": 1}]
    return message(number, "tenant.created", 1, {**site, "administrator": administrator, "products": products})


def activated(number: int) -> str:
    return message(number, "product.activated", 1, {"product": "jira-software", "edition": "standard", "users": 10})


policy = files("domain").joinpath("policy.toml").read_text()
for name, value in IMPATIENT.items():
    policy = re.sub(rf'(?m)^{name} = "\w+"', f'{name} = "{value}"', policy)
Path("policy.toml").write_text(policy)
Path("tenants.jsonl").write_text("".join(created(number) for number in range(1, NUMBER + 1)))
Path("jira.jsonl").write_text("".join(activated(number) for number in range(1, NUMBER + 1)))
print(f"{NUMBER} tenants, and Jira for each of them")
