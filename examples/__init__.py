"""Small programs on Tenantry's parts; each is run by a test."""
