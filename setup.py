"""The two parts that are compiled, where there is a compiler (docs/decisions/0023, 0026). All else: pyproject.toml."""

import sys

from setuptools import Extension, setup

parts = [
    Extension(
        "millstream._core.events._fastpath",
        ["src/millstream/_core/events/_fastpath.c"],
        optional=True,
        py_limited_api=True,
    ),
    Extension(
        "millstream.collector._validate", ["src/millstream/collector/_validate.c"], optional=True, py_limited_api=True
    ),
]
compiled = sys.implementation.name == "cpython"

setup(
    ext_modules=parts if compiled else [],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if compiled else {},
)
