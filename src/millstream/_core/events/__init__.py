"""An event's JSON: built, encoded, normalized."""
