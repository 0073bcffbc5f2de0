"""An application of many tenants in forty lines: notes, in each tenant's own database, for the tenant of the host.

uvicorn --app-dir examples/your-application app:app --port 8010
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI

from tenantry_client.asap import Signer, SigningKey
from tenantry_client.context.asgi import TenancyMiddleware
from tenantry_client.context.credentials import Credentials
from tenantry_client.context.databases import TenantConnections
from tenantry_client.context.document import TenantContext
from tenantry_client.context.fastapi import requires, tenant_context
from tenantry_client.context.tenancy import Tenancy

PRODUCT = "confluence"

tenancy = Tenancy.open()
credentials = Credentials("http://127.0.0.1:8788", Signer("notes", SigningKey.from_environment()))
connections = TenantConnections(tenancy, PRODUCT, credentials)
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
