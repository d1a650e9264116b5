"""What `make serve` adds to Ray: a guard of its processes, loopback addresses, a watch over the service."""
