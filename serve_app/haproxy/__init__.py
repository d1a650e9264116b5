"""HAProxy in front of the replicas, with changes to the configuration that Ray Serve writes."""
