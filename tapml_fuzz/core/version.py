"""The package's version, for everything that names it without importing the package."""

__version__ = "0.1.0"
