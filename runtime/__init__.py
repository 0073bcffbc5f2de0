"""Runtime: the setup of a process of Tenantry."""
