"""What the service has captured: reading it, joining feedback to it, importing feedback, compacting it."""
