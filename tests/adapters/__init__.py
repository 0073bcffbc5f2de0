"""Do the adapters keep their promises against the real thing?"""
