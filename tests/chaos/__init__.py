"""Processes that are killed, and what arrives all the same. `make chaos` does it at length."""
