"""The version, alone because the build reads it."""

__version__ = "0.1.0"
