"""Parts of `make serve`: guard of its processes, loopback addresses, preconditions, and monitoring."""
