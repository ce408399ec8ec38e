"""The checks of `millstream doctor`. Each yields findings, and none raises.

local    this machine: versions, the key, the host's name, OAuth settings, the spool's directory
remote   the way to the server, step by step: name, connection, TLS, answer, clock; and the token server
"""

from __future__ import annotations

from .finding import Finding, Findings

__all__ = ["Finding", "Findings"]
