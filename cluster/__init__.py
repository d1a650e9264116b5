"""The control plane: KubeRay, rollouts, AWS, cost. `python -m cluster <verb>`."""
