"""Decisions of delivery: batches, retries, rate limits."""
