"""Workers that are killed or stopped at each point of their work, on real parts."""
