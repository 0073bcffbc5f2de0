"""A scope: steps, specs, events, actual state, and the next action."""
