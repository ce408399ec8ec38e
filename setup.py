"""What a static file cannot say: compiled parts where there is a compiler, and links that depend on an address.

All else is in pyproject.toml. Compiled parts are optional (docs/decisions/0023, 0026): a wheel without them is pure.
`$MILLSTREAM_REPOSITORY` is the address under which a release shows this repository's files, without a slash at its end:
the long description and the project's URLs lead there.
"""

import os
import re
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

PARTS = ("millstream._core.events._fastpath", "millstream.collector._validate")
compiled = sys.implementation.name == "cpython" and not os.environ.get("MILLSTREAM_PURE")
address = os.environ.get("MILLSTREAM_REPOSITORY", "")


class Wheel(bdist_wheel):
    """A wheel that is tagged by what was compiled, and not by what could have been."""

    def run(self) -> None:
        self.run_command("build")
        if not any(Path(each).exists() for each in self.get_finalized_command("build_ext").get_outputs()):
            self.distribution.ext_modules = []
            self.root_is_pure, self.py_limited_api = True, False
        super().run()


def long_description() -> str:
    """The README, with links that lead somewhere from a package index, too."""
    text = Path(__file__).with_name("README.md").read_text("utf-8")
    return re.sub(r"\]\((?![a-z]+:|#)", f"]({address}/", text) if address else text


setup(
    ext_modules=[
        Extension(name, [f"src/{name.replace('.', '/')}.c"], optional=True, py_limited_api=True) for name in PARTS
    ]
    if compiled
    else [],
    cmdclass={"bdist_wheel": Wheel},
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if compiled else {},
    long_description=long_description(),
    long_description_content_type="text/markdown",
    project_urls={
        "Documentation": f"{address}/docs/README.md",
        "Source": address,
        "Changelog": f"{address}/CHANGELOG.md",
    }
    if address
    else {},
)
