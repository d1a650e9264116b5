"""What `make serve` adds to Ray: a guard of its processes, loopback addresses, and a watch over the service."""
