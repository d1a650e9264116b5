"""Canary rollout of a new model version: first on one pod, then on all pods, or rolled back.

Run by `python -m cluster rollout <verb>`. Modules:

state       state machine; a rollout is the fold over the entries of its journal
plan        stages, sample sizes and tolerances
metric_window, metric_sources, pod_metrics   counts of each version in a time window, and their sources
duration    how long the stages take at the observed request rate
shares, e_process, analysis   continue, promote or roll back, with the reason: pure functions
targets     interface to the deployment that serves the models, and its implementations
aliases, registry   registry aliases that move with a rollout, and the registry that holds them
journal     stored state of a rollout, in a folder or in S3
effects, controller     fenced changes of pods and aliases, in an order that survives a crash of the
controller
power       error rates of the tests, by simulation
"""
