"""Flask: events that are recorded while a request is answered have its visitor's ids and context."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from .._public import Unpack, publish
from ..client import Analytics
from ..errors import SettingsError
from .request import Capture, CaptureArgs
from .wsgi import MillstreamMiddleware

__all__ = ["Millstream", "session_user"]


class Millstream:
    """A Flask extension that gives events the ids and context of the request that is answered.

        app = Flask(__name__)
        Millstream(app, analytics)

    The request's `Identity` is `request.environ["millstream"]`: set its `user_id` where the user becomes known.

    Args:
        app: the application; None: pass it to `init_app` later.
        analytics: the client that it records with.
        options: see `millstream.integrations.request.Capture`. `user_id` is called with Flask's `request`; by default
            the user id comes from the session, where Flask-Login keeps it.

    Raises:
        SettingsError: an option is unknown, or its value cannot be used; or there is no client for an application.
    """

    def __init__(self, app: Any = None, analytics: Analytics | None = None, **options: Unpack[CaptureArgs]) -> None:
        Capture.of(options)
        self._analytics = analytics
        self._options = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Any, analytics: Analytics | None = None) -> None:
        """Serve this application, with this client or that of the constructor.

        Raises:
            SettingsError: there is no client, or it is an AsyncAnalytics.
        """
        client = self._analytics if analytics is None else analytics
        if client is None:
            raise SettingsError("Millstream needs a client: write Millstream(app, analytics)")
        flask: Any = import_module("flask")
        find_user = self._options.get("user_id") or session_user

        def user_of_request(_: object) -> object:
            return find_user(flask.request) if flask.has_request_context() else None

        def pin_user(response: Any) -> Any:
            """Look up the user while there is a request: the pieces of a streamed body are made after its end."""
            identity = flask.request.environ.get("millstream")
            if response.is_streamed and identity is not None and callable(identity.user_id):
                identity.user_id = identity.user_id()
            return response

        options: CaptureArgs = {**self._options, "user_id": user_of_request}
        app.wsgi_app = MillstreamMiddleware(app.wsgi_app, client, **options)
        app.after_request(pin_user)
        app.extensions["millstream"] = client


def session_user(_: object = None) -> object:
    """Return the user id that Flask-Login keeps in the session, or None."""
    flask: Any = import_module("flask")
    return flask.session.get("_user_id")


publish("millstream.integrations.flask", Millstream, session_user)
