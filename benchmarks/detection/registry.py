"""Everything there is, gathered from the modules of `families`, which are found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Any

from benchmarks.detection import families
from benchmarks.detection.model import Control, Fault, Subject


@cache
def _modules() -> tuple[ModuleType, ...]:
    names = sorted(m.name for m in pkgutil.iter_modules(families.__path__))
    return tuple(importlib.import_module(f"{families.__name__}.{name}") for name in names)


def _gathered(what: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in _modules():
        for item in getattr(module, what, ()):
            if item.name in found:
                raise ValueError(f"two of {what} are named {item.name}")
            found[item.name] = item
    return found


@cache
def subjects() -> dict[str, Subject]:
    """Every subject by name."""
    return _gathered("SUBJECTS")


@cache
def faults() -> dict[str, Fault]:
    """Every fault by name, whether it can run here or not."""
    return _gathered("FAULTS")


@cache
def controls() -> dict[str, Control]:
    """Every control by name, whether it can run here or not."""
    return _gathered("CONTROLS")


def subject_of(thing: Control | Fault) -> Subject:
    """The subject of a fault or control; raises `KeyError` naming it when there is none."""
    return subjects()[thing.subject]
