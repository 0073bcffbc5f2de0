"""What can be read?

Each read model is built from the events of the log alone; any of them can be thrown away and built anew. The
outbox of integration events is written by the same machinery, but stands apart: a rebuild would tell the
world everything again.
"""

from __future__ import annotations

from typing import Final

from domain.configuration import ConfigurationAdopted
from domain.customer import CustomerMessageStale
from domain.event import Event
from domain.operator_events import (
    IntakePositionMoved,
    MessageDiscarded,
    MessageRetried,
    MessagesReread,
    OrphansMarkedForRemoval,
    OrphansRemoved,
    PreviousReadModelsDropped,
    ReadModelsRebuilt,
)
from domain.service_keys import ServiceKeyPublished, ServiceKeyRevoked
from domain.tenant.events import (
    ApprovalRequested,
    ChangesApproved,
    ChangesRejected,
    ClosingHeld,
    LicenseExpired,
    LicenseUpdated,
    ProductActivated,
    ProductDeactivated,
    ProductSuspended,
    ProductUnsuspended,
    PurgeStarted,
    TenantMessageStale,
    TenantPurgeStarted,
)
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

_WANTED: Final = "a wish: the read models show what is provisioned; the saga's steps say when that changed"
_STALE: Final = "changed nothing; the audit trail shows it"

_ACT: Final = "an operator's act that changes nothing of a tenant; the timeline shows it"

_HELD: Final = "the destroy guard's: what is held is read from the log, what was let pass has facts of its own"

_NOBODYS: Final = "it belonged to no scope, so no read model shows it; the audit trail does"

IGNORED: Final[dict[type[Event], str]] = {
    ProductActivated: _WANTED,
    ProductDeactivated: _WANTED,
    ProductSuspended: _WANTED,
    ProductUnsuspended: _WANTED,
    LicenseUpdated: _WANTED,
    LicenseExpired: _WANTED,
    PurgeStarted: _WANTED,
    TenantPurgeStarted: _WANTED,
    ApprovalRequested: _HELD,
    ClosingHeld: _HELD,
    ChangesApproved: _HELD,
    ChangesRejected: _HELD,
    TenantMessageStale: _STALE,
    CustomerMessageStale: _STALE,
    OrphansMarkedForRemoval: _NOBODYS,
    OrphansRemoved: _NOBODYS,
    MessageDiscarded: _ACT,
    MessageRetried: _ACT,
    ReadModelsRebuilt: _ACT,
    PreviousReadModelsDropped: _ACT,
    ConfigurationAdopted: "what every process decides with: read where it is decided, and told by `tenantry config`",
    IntakePositionMoved: _ACT,
    ServiceKeyPublished: _ACT,
    ServiceKeyRevoked: _ACT,
    MessagesReread: _ACT,
}
"""The events of which no read model takes notice, and why."""
