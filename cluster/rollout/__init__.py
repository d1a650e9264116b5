"""A new version on one pod first, watched, then on all, or taken back. `python -m cluster rollout <verb>`.

states      what can follow what; a rollout is the fold of its journal
plan        stages, sample sizes, tolerances
observations, samples   what each version did in a window, and where that is read
duration    how long the stages take at the observed rate of requests
shares, evidence, decision   go on, promote or roll back, and why: pure
target, serve_target    which model every pod is to serve: the seam, and Ray Serve behind it
aliases, registry   names of versions that move with a rollout, and the registry behind them
journals, journal, stored_journal   a rollout's memory, in a folder or in S3
effects, controller     what is changed, fenced, and in an order that survives the controller's death
demo        all of it on this machine, to look at
"""
