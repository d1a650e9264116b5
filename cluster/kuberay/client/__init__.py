"""Client of the Kubernetes API for rendered objects: apply, status, diff, logs and delete."""
