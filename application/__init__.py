"""Application services: load, decide, record. What can be asked of the engine."""
