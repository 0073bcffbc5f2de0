"""Outages of everything that the workers stand on, under load, on real parts."""
