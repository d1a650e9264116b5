"""KubeRay: manifests from typed settings, strict validation of manifests, and a client."""
