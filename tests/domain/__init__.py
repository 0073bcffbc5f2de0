"""Is the domain right? Everything here runs in memory."""
