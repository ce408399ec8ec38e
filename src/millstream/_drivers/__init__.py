"""Drivers: the only code that waits. They do what the engine asks and tell it what came of it."""
