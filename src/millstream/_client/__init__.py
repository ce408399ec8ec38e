"""What the two clients have in common: the event calls, the life of a client, and its plugins and destinations."""
