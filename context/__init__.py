"""The tenant context: its service, the stream of its changes, and the sidecar."""
