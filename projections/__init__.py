"""Read models: the tables that projections derive from the log.

Each read model is built from the events of the log alone; any of them can be thrown away and built anew. The
outbox of integration events is written by the same machinery, but stands apart: a rebuild would tell the
world everything again. What each is built from, and why no read model shows an event, says domain/event_registry.py.
"""

from __future__ import annotations

from typing import Final

from projections import (
    configurations,
    customers,
    identities,
    integration,
    licenses,
    placements,
    provisionings,
    sites,
)
from projections.base import Projection

PROJECTIONS: Final[tuple[Projection, ...]] = (
    customers.PROJECTION,
    sites.PROJECTION,
    configurations.PROJECTION,
    identities.PROJECTION,
    licenses.PROJECTION,
    placements.PROJECTION,
    provisionings.PROJECTION,
)

INTEGRATION: Final = integration.PROJECTION
