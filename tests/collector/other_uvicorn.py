"""`millstream` with a uvicorn whose inside is another: `python other_uvicorn.py serve …`."""

from __future__ import annotations

import inspect
from typing import Any

from uvicorn.protocols.http import httptools_impl

from millstream.cli import main

known = inspect.signature(httptools_impl.RequestResponseCycle)


class Cycle(httptools_impl.RequestResponseCycle):
    """A cycle with one more argument, of which the collector knows nothing."""

    __signature__ = known.replace(
        parameters=[*known.parameters.values(), inspect.Parameter("more", inspect.Parameter.KEYWORD_ONLY, default=None)]
    )

    def __init__(self, *, more: object = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.more = more


if __name__ == "__main__":
    httptools_impl.RequestResponseCycle = Cycle  # type: ignore[misc]
    main()
