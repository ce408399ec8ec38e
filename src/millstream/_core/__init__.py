"""The pure core: no socket, file, clock, randomness, thread or event loop in here."""
