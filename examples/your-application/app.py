"""An application of many tenants in forty lines: notes, in each tenant's own database, for whoever the host belongs to.

uvicorn --app-dir examples/your-application app:app --port 8010
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from typing import Annotated

from fastapi import Depends, FastAPI

from tenantry_client.context.asgi import TenancyMiddleware
from tenantry_client.context.databases import Target, TenantConnections
from tenantry_client.context.document import TenantContext
from tenantry_client.context.fastapi import requires, tenant_context
from tenantry_client.context.tenancy import Tenancy

PRODUCT = "confluence"


@cache
def password_of(target: Target) -> str:
    """From the operator's command, on this machine; elsewhere from your store of secrets."""
    tenant = target.tenant_id
    answer = subprocess.run(["tenantry", "credentials", tenant, PRODUCT, "--json"], capture_output=True, check=True)
    return str(json.loads(answer.stdout)["password"])


tenancy = Tenancy.open()
connections = TenantConnections(tenancy, PRODUCT, password_of)
app = FastAPI()
app.add_middleware(TenancyMiddleware, tenancy=tenancy, product=PRODUCT)


@app.get("/")
def home(context: Annotated[TenantContext, Depends(tenant_context)]) -> dict[str, str]:
    with connections.connection(context.tenant_id) as connection:
        row = connection.execute("SELECT current_user, current_schema").fetchone()
    assert row is not None
    return {"tenant": context.tenant_id, "shard": context.placement(PRODUCT).shard, "user": row[0], "schema": row[1]}


@app.get("/analytics")
def analytics(context: Annotated[TenantContext, Depends(requires(product=PRODUCT, feature="analytics"))]) -> str:
    return f"the analytics of {context.site_name}"
