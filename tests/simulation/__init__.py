"""The saga in a fake world, on a virtual clock, by one seed."""
