"""The client of Tenantry: service tokens, the allow-list, and (later) the tenant context. Knows nothing of the engine."""
