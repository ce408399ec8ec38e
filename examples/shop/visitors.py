"""Who is asking: an anonymous id from the first request on, a user once signed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import parse_qsl
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .data import User, db

A_YEAR = 365 * 24 * 3600


class Who(TypedDict):
    """What all events of one request have in common, as the event calls take it."""

    user_id: str | None
    anonymous_id: str
    context: dict[str, str]


@dataclass(frozen=True)
class Visitor:
    anonymous_id: str
    user: User | None
    ip: str
    user_agent: str

    @property
    def who(self) -> Who:
        # This code runs on a server: what is known of the visitor's browser has to be said.
        context = {"ip": self.ip, "userAgent": self.user_agent}
        if self.user and self.user.company:
            context["groupId"] = self.user.company.id
        return {"user_id": self.user.id if self.user else None, "anonymous_id": self.anonymous_id, "context": context}


def visitor_of(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


async def recognise(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Middleware: know the visitor by cookies, and give whoever is new an anonymous id."""
    known = request.cookies.get("visitor")
    request.state.visitor = visitor = Visitor(
        anonymous_id=known or str(uuid4()),
        user=db.sessions.get(request.cookies.get("session", "")),
        ip=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", ""),
    )
    response = await call_next(request)
    if not known:
        response.set_cookie("visitor", visitor.anonymous_id, max_age=A_YEAR, httponly=True, samesite="lax")
    request.app.state.served += 1
    return response


def open_session(user: User, *, then: str) -> Response:
    """Sign the user in. The session has a secret of its own: an anonymous id is in every event and proves nothing."""
    response = RedirectResponse(then, status_code=303)
    response.set_cookie("session", db.add_session(user), httponly=True, samesite="lax")
    return response


async def form_of(request: Request, *names: str) -> list[str]:
    """The named fields of a submitted form."""
    form = dict(parse_qsl((await request.body()).decode(errors="replace")))
    if missing := [name for name in names if name not in form]:
        raise HTTPException(400, f"missing: {', '.join(missing)}")
    return [form[name] for name in names]
