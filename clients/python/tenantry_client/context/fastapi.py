"""The FastAPI dependencies of the tenant context: the context of a request, and what a route requires of it.

app.add_middleware(TenancyMiddleware, tenancy=Tenancy.open())

@app.get("/export")
def export(context: Annotated[TenantContext, Depends(requires(product="crm", feature="export"))]): ...
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import HTTPException, Request

from tenantry_client.context.asgi import CONTEXT
from tenantry_client.context.document import TenantContext
from tenantry_client.context.refusals import ContextRefused


def tenant_context(request: Request) -> TenantContext:
    """The context that TenancyMiddleware found. Raises HTTPException where it stands before no such route."""
    found = request.scope.get(CONTEXT)
    if not isinstance(found, TenantContext):
        raise HTTPException(503, {"code": "context-missing", "message": "TenancyMiddleware is not installed here"})
    return found


def requires(*, product: str, feature: str | None = None) -> Callable[[Request], TenantContext]:
    """The context, where its product is open and has the feature; otherwise 403 with the code."""

    def dependency(request: Request) -> TenantContext:
        found = tenant_context(request)
        try:
            found.require(product=product, feature=feature)
        except ContextRefused as refused:
            raise HTTPException(refused.status, {"code": refused.code, "message": str(refused)}) from None
        return found

    return dependency
