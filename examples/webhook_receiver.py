"""A receiver of Millstream's webhook: checks the signature of each request, and prints its events.

python examples/webhook_receiver.py PORT SECRET
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


def is_genuine(secret: str, timestamp: str, signature: str, body: bytes) -> bool:
    """Return whether a request was signed with the secret."""
    right = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(right, signature)


class Receiver(BaseHTTPRequestHandler):
    """Answers 200 to what is genuine, and 401 to anything else."""

    secret = ""

    def do_POST(self) -> None:
        """Take a request: a JSON array of events."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        timestamp = self.headers.get("X-Millstream-Timestamp", "")
        genuine = is_genuine(self.secret, timestamp, self.headers.get("X-Millstream-Signature", ""), body)
        for event in json.loads(body) if genuine else ():
            print(event["type"], event.get("event"), event.get("userId"), flush=True)
        self.send_response(200 if genuine else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print events alone."""


if __name__ == "__main__":
    port, Receiver.secret = int(sys.argv[1]), sys.argv[2]
    HTTPServer(("127.0.0.1", port), Receiver).serve_forever()
