"""Benchmarks and reliability runs against the real service on this machine."""
