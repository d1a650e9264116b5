"""Continuous training loop without a scheduler: it decides the next step and executes one step at a time.

Run by `python -m cluster loop`. Modules:

planner          decision on the next step and its reason: pure functions
observed_state   inputs of the decision: prediction log, registry, retraining folder and rollout journal
executor         execution of a step
"""
