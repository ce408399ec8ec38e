"""The one part that is compiled, where there is a compiler (docs/decisions/0023). All else is in pyproject.toml."""

import sys

from setuptools import Extension, setup

look = Extension("penstock._core._look", ["src/penstock/_core/_look.c"], optional=True, py_limited_api=True)
compiled = sys.implementation.name == "cpython"

setup(
    ext_modules=[look] if compiled else [],
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if compiled else {},
)
