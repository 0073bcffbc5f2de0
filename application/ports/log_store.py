"""The store of the log: all that one database commits together. Adapters implement it; services take less."""

from __future__ import annotations

from typing import Protocol

from application.ports.event_log import EventLog
from application.ports.feed import EventFeed
from application.ports.inbox import Inbox
from application.ports.stream_index import ApprovalIndex, CustomerTenants, Intents, StreamPages
from application.ports.work_queue import WorkQueue


class LogStore(EventLog, EventFeed, Inbox, WorkQueue, StreamPages, Intents, CustomerTenants, ApprovalIndex, Protocol):
    """The event log with its inbox, its work queue and its indexes."""
