"""The closed loop, without a scheduler: what comes next, and one step at a time. `python -m cluster loop`.

step        from what is known to the next step and why: pure
facts       what is known, read from log, registry, the folder of retrainings and the rollout's journal
work        carries a step out
demo        all of it on one machine, in minutes
"""
