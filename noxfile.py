"""The tests on every Python that we claim, and with the oldest libraries that we allow: `make test-matrix`.

Each session has an environment of its own, with the package as users install it. A Python that is not found is skipped;
on continuous integration it fails the run.
"""

import os

import nox

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
JOBS = os.environ.get("JOBS", "4")

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = "CI" in os.environ


def run_tests(session: nox.Session, constraints: str, marks: str) -> None:
    session.install("-r", "requirements/test.txt", "-c", f"requirements/{constraints}.txt", ".[all]")
    session.run("python", "-m", "pytest", "-n", JOBS, "--dist", "worksteal", "-m", marks, *session.posargs)


@nox.session(python=PYTHONS)
def fast(session: nox.Session) -> None:
    """The fast tests, on each Python."""
    run_tests(session, "newest", "not process and not server")


@nox.session(python=PYTHONS[0])
def oldest(session: nox.Session) -> None:
    """The fast tests and those with a server in the process, with the oldest libraries."""
    run_tests(session, "oldest", "not process")
