"""The log in court: transparency log, verification, export, import."""
