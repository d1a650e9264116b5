"""Pods that follow the load: real raylets, real replicas, open-loop load, two policies."""
