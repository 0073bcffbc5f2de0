"""The tenant context: documents, wire, files on a host, and the look-up of an application."""
