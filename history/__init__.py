"""History of a tenant: its states, events and their causes, and the rebuild of read models."""
