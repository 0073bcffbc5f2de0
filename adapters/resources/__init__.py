"""The resources that the seven steps provision."""
