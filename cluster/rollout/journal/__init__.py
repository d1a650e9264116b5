"""Journal of a rollout: its stored state, in a folder or in an object store."""
