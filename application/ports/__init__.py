"""The ports: what the application asks of the world, a module each.

Each port is a Protocol; its fake and its real adapter pass the same contract suite. A service takes the narrowest port
that serves it.
"""
