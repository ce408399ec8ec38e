"""Public modules: names that are loaded on first use, and are called by the module that users import them from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
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


__all__ = ["Self", "Unpack", "lazily", "publish"]


def lazily(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__` (PEP 562): it imports a name on first use, and keeps it.

    Args:
        package: the package's `__name__`.
        modules: the module of each name, relative to the package.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return load


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
