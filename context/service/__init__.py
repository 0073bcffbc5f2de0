"""The tenant context service: documents, hosts, snapshots, changes and leases over HTTP."""
