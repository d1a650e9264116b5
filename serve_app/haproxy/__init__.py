"""HAProxy in front of the replicas: what this service changes in the configuration that Ray Serve writes."""
