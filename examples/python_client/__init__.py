"""Typed client of the HTTP API: one file that needs httpx alone, and a command that uses it."""
