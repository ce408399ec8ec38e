"""Faults of the host and of the network, with the real library and a real server."""
