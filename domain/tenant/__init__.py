"""A tenant: events, state (registers), decisions, approval of destructive changes."""
