"""Dynamic batcher: queues, admission control and device threads."""
