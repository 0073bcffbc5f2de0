"""Workers: the processes that keep the actual state in agreement with the desired state."""
