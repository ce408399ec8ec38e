"""The common parts of both clients: event calls, life cycle, plugins and destinations."""
