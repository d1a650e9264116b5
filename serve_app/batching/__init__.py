"""The dynamic batcher: queues, admission and the device threads."""
