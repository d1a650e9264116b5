"""Benchmarks and reliability tests of the real service on this machine."""
