"""How is a process of Tenantry set up?"""
