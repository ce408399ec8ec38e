"""Destinations: pure descriptions of who is sent what. The engine batches, retries and sends for them."""
