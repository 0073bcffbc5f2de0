"""The credential service: it gives database passwords to services that may have them, and records each time."""
