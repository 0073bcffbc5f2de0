"""The context sidecar: one a host; it keeps the contexts of all tenants where any process on the host can read them."""
