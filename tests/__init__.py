"""Does Tenantry do what its documents say?"""
