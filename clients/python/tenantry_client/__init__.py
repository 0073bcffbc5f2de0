"""The client of Tenantry: service tokens and the allow-list. It knows nothing of the engine."""
