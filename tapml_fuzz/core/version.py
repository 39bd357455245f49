"""The package's version and those of other packages, for everything that names them without importing them."""

from __future__ import annotations

from collections.abc import Sequence

# The only place where it stands: the build reads it from this file (pyproject.toml, tool.setuptools.dynamic).
__version__ = "0.1.0"


def versions_of(distributions: Sequence[str]) -> dict[str, str]:
    """Installed versions by the distribution's name, in the order given; what is not installed is left out."""
    from importlib import metadata

    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
