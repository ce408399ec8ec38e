"""Public addresses: classes and functions are named by the module that users import them from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack
elif sys.version_info >= (3, 11):
    from typing import Self, Unpack
else:  # the typing of 3.10 has neither
    Self = Any

    class Unpack:
        """Stand-in for a run-time look at hints: `Unpack[T]` is `T`."""

        def __class_getitem__(cls, item: Any) -> Any:
            return item


__all__ = ["Self", "Unpack", "publish"]


def publish(module: str, *public: type | Callable[..., Any]) -> None:
    """Name classes and functions by their public module in reprs, tracebacks and pickles.

    Call it at the end of the module that defines them, where all names in their annotations are known: `get_type_hints`
    looks names up in the module that the class names.
    """
    for each in public:
        if isinstance(each, type) and (own := vars(each).get("__annotations__")):
            hints = get_type_hints(each, include_extras=True)
            each.__annotations__ = {name: hints[name] for name in own}
        each.__module__ = module
