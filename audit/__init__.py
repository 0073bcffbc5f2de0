"""Audit of the log: transparency log, verification, export, import."""
