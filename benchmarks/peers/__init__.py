"""Comparison of the service with other ways to serve the same model: `make bench-peers`."""
