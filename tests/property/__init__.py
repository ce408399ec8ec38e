"""Truths that hold for every input. A package, so that its files may be named like those of the unit tests."""
