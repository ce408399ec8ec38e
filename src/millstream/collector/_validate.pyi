from collections.abc import Callable
from typing import Any

def usual(
    text: bytes, only: str, skew: int, ending: bytes, accepted: Callable[[str, str, bytes], Any], /
) -> list[Any] | None: ...
