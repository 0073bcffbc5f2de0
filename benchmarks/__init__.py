"""Benchmarks: the speed of each part, against what it replaces."""
