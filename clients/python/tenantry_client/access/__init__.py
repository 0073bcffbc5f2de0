"""Access between services: the allow-list, raw paths, limits, exports, and the ASGI middleware that checks requests."""

from tenantry_client.access.allow_list import AllowList, InvalidAllowList, WatchedAllowList
from tenantry_client.access.exports import Export, ExportRefused
from tenantry_client.access.limits_service import LimitsService
from tenantry_client.access.middleware import AccessMiddleware
from tenantry_client.access.rates import CoordinatorUnavailable, RateLimits

__all__ = [
    "AccessMiddleware",
    "AllowList",
    "CoordinatorUnavailable",
    "Export",
    "ExportRefused",
    "InvalidAllowList",
    "LimitsService",
    "RateLimits",
    "WatchedAllowList",
]
