"""Does a producer that closes everybody's products get further than the budget of closings lets it?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.domain.driver import Cloud
from tests.domain.given import GUARDED, JIRA, message


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("product.suspended", {"reason": "a fault"}),
        ("license.updated", {"status": "inactive"}),
        ("license.updated", {"expires_at": "2026-05-31T00:00:00Z"}),
        ("product.activated", {"expires_at": "2026-05-31T00:00:00Z"}),
    ],
)
def test_of_sixty_closings_fifty_pass_and_the_rest_await_approval(type_: str, data: dict[str, Any]) -> None:
    cloud = Cloud(policy=GUARDED)
    ids = [f"t-{number:02}" for number in range(60)]
    for tenant in ids:
        about: dict[str, Any] = {"tenant_id": tenant, "site_name": f"site-{tenant}", "customer_id": f"c-{tenant}"}
        cloud.intake.takes(message("tenant.created", 1, **about))
        cloud.intake.takes(message("product.activated", 1, tenant_id=tenant, product=JIRA))
    cloud.intake.takes(*(message(type_, 2, tenant_id=tenant, product=JIRA, **data) for tenant in ids))
    cloud.work()
    levels = [cloud.estate(tenant).product(JIRA).level for tenant in ids]
    assert levels == ["closed"] * 50 + ["open"] * 10
    assert list(cloud.log.held_by_guard()) == ids[50:]
