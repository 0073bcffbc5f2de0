"""PostgreSQL: event store, event log, read positions, work queue."""
