"""What is true: the tenants of an estate, their wishes and their provisioning. No I/O, no clock, no randomness."""
