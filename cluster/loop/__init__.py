"""Continuous training loop without a scheduler: it decides the next step and executes one step at a time.

Run by `python -m cluster loop`. Modules:

step        decision on the next step and its reason: pure functions
facts       inputs of the decision, read from prediction log, registry, retraining folder and rollout journal
work        execution of a step
demo        demonstration of the entire loop on one machine, in minutes
"""
