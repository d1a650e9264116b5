"""Control plane: KubeRay, rollouts, AWS and cost. `python -m cluster COMMAND`."""
