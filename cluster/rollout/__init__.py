"""Canary rollout of a new model version: first on one pod, then on all pods, or rolled back.

Run by `python -m cluster rollout <verb>`. Modules:

states      state machine; a rollout is the fold over the entries of its journal
plan        stages, sample sizes and tolerances
observations, samples   counts of each version in a time window, and the metrics that they are read from
duration    how long the stages take at the observed request rate
shares, evidence, decision   continue, promote or roll back, with the reason: pure functions
target, serve_target    interface to the deployment that serves the models, and its Ray Serve implementation
aliases, registry   registry aliases that move with a rollout, and the registry that holds them
journals, journal, stored_journal   stored state of a rollout, in a folder or in S3
effects, controller     fenced changes of pods and aliases, in an order that survives a crash of the
controller
demo        demonstration of a complete rollout on the local machine
"""
