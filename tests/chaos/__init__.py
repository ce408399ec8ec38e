"""Processes that are killed, and what arrives all the same. `python -m tests.chaos` does it at length."""
