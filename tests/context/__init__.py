"""The tenant context over processes: the stand-in of a service, sidecars, faults, and the history checker."""
