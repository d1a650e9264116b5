"""Strict validation of manifests before they reach the API server."""
