"""KubeRay: manifests from typed settings, a strict check of them, and a client."""
