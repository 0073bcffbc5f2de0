"""The domain: tenants, their desired state and their provisioning. No I/O, no clock, no randomness."""
