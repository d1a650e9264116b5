"""Training: fit, evaluate, registry, drift. `python -m train <verb>`."""
