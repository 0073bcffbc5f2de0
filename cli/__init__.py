"""Command line of Tenantry: `tenantry COMMAND`."""
