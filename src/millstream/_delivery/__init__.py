"""Delivery: the only code that waits. It does what the engines ask, and reports what came of it."""
