"""What `millstream doctor` looks at. Each check yields findings, and none of them raises.

here     this machine: versions, the key, the host's name, OAuth settings, the spool's directory
there    the way to the server, step by step: name, connection, TLS, answer, clock; and the token server
"""

from __future__ import annotations

from .finding import Finding, Findings

__all__ = ["Finding", "Findings"]
