"""Which processes keep what is licensed and what is provisioned in agreement?"""
