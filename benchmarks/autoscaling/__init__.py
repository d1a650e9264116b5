"""Benchmark of autoscaling: real raylets, real replicas, open-loop load, two policies."""
