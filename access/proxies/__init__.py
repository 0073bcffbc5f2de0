"""Configurations of the proxies: pure functions from `edge.toml` and `egress.toml` to what Envoy and nginx read."""
