"""Pages of the console: each a function of a desk and of what its address asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from console.app import MakePage
from console.pages import (
    acts,
    changes,
    explain,
    health,
    now,
    plans,
    quarantine,
    rehearse,
    search,
    tenant,
    tenants,
    timeline,
)

PAGES: Final[Sequence[tuple[str, MakePage]]] = (
    ("/", now.page),
    ("/cause/{cause}", now.cause_page),
    ("/tenants", tenants.page),
    ("/t/{tenant}/timeline", timeline.page),
    ("/t/{tenant}/explain", explain.page),
    ("/t/{tenant}", tenant.page),
    ("/plans/{hash}", plans.page),
    ("/plans", plans.page),
    ("/quarantine", quarantine.page),
    ("/search", search.page),
    ("/changes", changes.page),
    ("/acts", acts.page),
    ("/rehearse", rehearse.page),
    ("/health", health.page),
)
"""The pages by their paths."""
