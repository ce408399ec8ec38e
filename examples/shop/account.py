"""People and their companies."""

from __future__ import annotations

from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pages
from .data import db
from .tracking import analytics
from .visitors import form_of, open_session, visitor_of


async def sign_up(request: Request) -> Response:
    if request.method == "GET":
        return pages.show(request, "Sign up", pages.SIGN_UP, category="Account")
    name, email = await form_of(request, "name", "email")
    if email in db.users:
        raise HTTPException(409, "there is an account with this address: log in instead")
    user = db.add_user(name, email)
    visitor = replace(visitor_of(request), user=user)
    # What the visitor did before now was the user's doing.
    analytics.alias(user.id, previous_id=visitor.anonymous_id)
    analytics.identify(
        **visitor.who,
        traits={"name": user.name, "email": user.email, "created_at": user.created_at},
    )
    analytics.track("Signed Up", **visitor.who)
    return open_session(user, then="/cart")


async def log_in(request: Request) -> Response:
    if request.method == "GET":
        return pages.show(request, "Log in", pages.LOG_IN, category="Account")
    [email] = await form_of(request, "email")
    user = db.users.get(email)
    if user is None:
        raise HTTPException(403, "there is no account with this address")
    visitor = replace(visitor_of(request), user=user)
    analytics.identify(**visitor.who)
    analytics.track("Signed In", **visitor.who)
    return open_session(user, then="/")


async def company(request: Request) -> Response:
    visitor = visitor_of(request)
    if visitor.user is None:
        return RedirectResponse("/login", status_code=303)
    if request.method == "GET":
        return pages.show(request, "Company account", pages.COMPANY, category="Account")
    name, employees = await form_of(request, "name", "employees")
    if not employees.isdecimal():
        raise HTTPException(400, "employees is not a number")
    created = db.add_company(visitor.user, name, int(employees))
    analytics.group(
        created.id,
        **visitor.who,
        traits={"name": created.name, "employees": created.employees, "created_at": created.created_at},
    )
    analytics.track("Account Created", **visitor.who, properties={"account_name": created.name})
    return RedirectResponse("/", status_code=303)
