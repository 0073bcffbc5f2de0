"""Pages of the console: each a function of a desk and of what its address asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from console.app import MakePage
from console.pages import acts, health, rehearse, tenant, tenants

PAGES: Final[Sequence[tuple[str, MakePage]]] = (
    ("/tenants", tenants.page),
    ("/t/{tenant}", tenant.page),
    ("/acts", acts.page),
    ("/rehearse", rehearse.page),
    ("/health", health.page),
)
"""The pages by their paths."""
