"""How many pods: a policy for Ray Serve's autoscaler that aims at what a pod is promised to carry."""
