"""Access between services: the allow-list, raw paths, and the ASGI middleware that holds a request against both."""
