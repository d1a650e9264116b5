"""AWS: everything of the service there as code."""
