"""The receiver of the how-to: it takes what our webhook sends, and nothing that another has signed."""

from __future__ import annotations

import pytest
from examples.webhook_receiver import is_genuine

from millstream.destinations import Webhook, preview


@pytest.mark.parametrize(("secret", "genuine"), [("a-secret-of-mine", True), ("another-secret", False)])
def test_it_knows_our_signature(secret: str, genuine: bool) -> None:
    """The signature of a webhook with the same secret is right, and that of any other is not."""
    (request,) = preview(Webhook("https://me.example/in", secret=secret), {"type": "track", "event": "E"})
    headers = request.headers
    signed = headers["X-Millstream-Timestamp"], headers["X-Millstream-Signature"], request.body
    assert is_genuine("a-secret-of-mine", *signed) is genuine
