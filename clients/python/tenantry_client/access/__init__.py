"""Access between services: the allow-list, raw paths, and the ASGI middleware that checks a request against both."""

from tenantry_client.access.allow_list import AllowList, InvalidAllowList, WatchedAllowList
from tenantry_client.access.middleware import AccessMiddleware

__all__ = ["AccessMiddleware", "AllowList", "InvalidAllowList", "WatchedAllowList"]
