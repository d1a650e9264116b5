"""Benchmarks of single requests: CPU time and latency of a lone text, and the cold start of a replica."""
