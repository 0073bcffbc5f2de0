"""What stands in for the world in a test: it works, it counts, and it passes the contract of its port."""
