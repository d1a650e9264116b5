"""Manifests of the rendered Kubernetes objects, from an environment's settings."""
