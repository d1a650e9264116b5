"""The Lambda functions: boto3 and the standard library, nothing else of this repository.

runtime            settings, clients that give up in time, log lines
once               a step whose event comes again is not done again
probe              asks the running service, and says whether the answer is right
drift_check        starts the drift job, and turns its verdict into a metric
pipeline_trigger   what starts a pipeline, or ends one's canary
rollout_watcher    tells people what a rollout or a pipeline did
"""
