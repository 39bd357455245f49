"""The registry of rules: aten overload, or whole overload packet, to the function that computes it over `Tracked`.

A rule takes the overload's own arguments (tensors as `Tracked`, the rest as they are) and returns its outputs as
`Tracked`. Its values must equal torch's float64 result; its errors are what the primitives gather on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from torch._ops import OpOverload

Rule = Callable[..., Any]
R = TypeVar("R", bound=Rule)

_RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[R], R]:
    """Register a rule under overload names (`"aten.add.Tensor"`) or packet names (`"aten.add"`)."""

    def register(function: R) -> R:
        for name in names:
            if name in _RULES:
                raise ValueError(f"two rules for {name}")
            _RULES[name] = function
        return function

    return register


@cache
def lookup(overload: OpOverload) -> Rule | None:
    """The rule of an overload, else of its packet, else None."""
    name = str(overload)
    return _RULES.get(name) or _RULES.get(name.rpartition(".")[0])


def by_rule(found: Rule, overload: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The rule on a call's arguments, those that the schema takes by position too given so: rules name them freely."""
    placed = [a for a in overload._schema.arguments if not a.kwarg_only]
    named = [place for place, argument in enumerate(placed) if argument.name in kwargs]
    if not named:
        return found(*args, **kwargs)
    given = placed[len(args) : named[-1] + 1]
    args = (*args, *(kwargs.get(a.name, a.default_value) for a in given))
    taken = {a.name for a in given}
    return found(*args, **{k: v for k, v in kwargs.items() if k not in taken})


def names() -> tuple[str, ...]:
    """Every registered name, sorted."""
    return tuple(sorted(_RULES))
