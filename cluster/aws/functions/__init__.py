"""Lambda functions, which use only boto3 and the standard library.

runtime            settings, boto3 clients with time limits, log lines
idempotency        idempotency of steps whose event is delivered again
probe              sends a request to the service, and checks the response
drift_check        starts the drift job, and publishes its verdict as a metric
pipeline_trigger   starts a pipeline, or aborts a canary
rollout_watcher    notifies users of rollouts and pipelines
"""
