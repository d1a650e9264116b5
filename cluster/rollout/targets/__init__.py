"""Targets of a rollout: deployments whose models a rollout can read and change."""
