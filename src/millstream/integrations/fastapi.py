"""FastAPI: the ASGI middleware, and the identity of a request as a dependency.

app.add_middleware(MillstreamMiddleware, analytics=analytics)

async def current_user(visitor: Visitor, token: Annotated[str, Depends(oauth2)]) -> User:
    user = await user_of(token)
    visitor.user_id = user.id
    return user
"""

# The framework has no types, or is not installed where types are checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Depends

from ..identity import Identity
from .starlette import MillstreamMiddleware, visitor

__all__ = ["MillstreamMiddleware", "Visitor", "visitor"]

depends: Any = Depends
Visitor: TypeAlias = Annotated[Identity, depends(visitor)]
"""The type of an argument that gets the request's `Identity`: set its `user_id` where the user becomes known."""
