"""Benchmarks of rollouts: bad canaries, changed code, killed controllers, loading, replicas, scaling."""
