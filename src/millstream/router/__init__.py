"""The router: takes stored events to destinations."""
