"""Applying one overload to `Tracked` values: exactly for integers and tensors made of nothing, else by its rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._pytree import tree_flatten, tree_map

from tapml_fuzz.core.errors import NoTruth
from tapml_fuzz.oracle import rules  # noqa: F401 (registers every rule)
from tapml_fuzz.oracle.registry import by_rule, lookup
from tapml_fuzz.oracle.tracked import Arithmetic, Tracked

UNINITIALISED = frozenset({"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided"})
_STEPPED = frozenset({"arange", "linspace", "logspace"})
# How a result lies in memory does not change what it is.
_PLACEMENT = frozenset({"layout", "device", "pin_memory", "memory_format", "non_blocking"})


class Undecided(Exception):
    """No rule and no exact way; the caller decomposes or perturbs."""


def apply(overload: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], arithmetic: Arithmetic) -> Any:
    """One overload over `Tracked` arguments. Raises `NoTruth`, `Undecided`, or what torch raises."""
    packet = overload.overloadpacket.__name__
    if torch.Tag.nondeterministic_seeded in overload.tags and not _without_dropout(overload, args, kwargs):
        raise NoTruth(f"{overload} is random", hint="fix its random numbers as an input")
    if packet in UNINITIALISED:
        raise NoTruth(f"{overload} returns uninitialised memory", hint="fill it")
    kwargs = {k: v for k, v in kwargs.items() if k not in _PLACEMENT}
    operands = tracked_in((args, kwargs))
    if not operands:
        return _factory(overload, args, kwargs, arithmetic)
    if any(o.unordered is not None for o in operands):
        raise NoTruth(f"{overload} gets values whose order topk(sorted=False) leaves open", hint="ask for sorted=True")
    found = lookup(overload)
    if not any(o.is_floating for o in operands):
        if any(o.error is not None for o in operands):
            return _uncertain(overload, args, kwargs, operands)
        exact = _exact(overload, args, kwargs, arithmetic)
        if exact is not None and not (found is not None and packet in _INDEXING):
            return exact
    if found is None:
        raise Undecided(str(overload))
    return by_rule(found, overload, args, kwargs)


def _without_dropout(overload: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Attention is tagged random for the sake of its dropout; without dropout it is not."""
    for place, argument in enumerate(overload._schema.arguments):
        if argument.name == "dropout_p":
            given = args[place] if place < len(args) else kwargs.get("dropout_p", 0.0)
            return bool(given == 0.0)
    return False


# Their indices have ties even among integers.
_INDEXING = frozenset({"argmax", "argmin", "max", "min", "topk", "sort", "argsort", "median"})


def tracked_in(tree: Any) -> list[Tracked]:
    """The tracked leaves of nested arguments (torch's own tree walk is ten times slower on so little)."""
    if isinstance(tree, Tracked):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        return []
    return [leaf for branch in tree for leaf in tracked_in(branch)]


def is_tracked(leaf: Any) -> bool:
    """Tell whether a leaf of nested arguments is a `Tracked` value."""
    return isinstance(leaf, Tracked)


def plain(tree: Any) -> Any:
    """Nested arguments with plain values in place of `Tracked` ones."""
    return tree_map(lambda leaf: leaf.value if isinstance(leaf, Tracked) else leaf, tree, is_leaf=is_tracked)


def _exact(overload: OpOverload, args: Any, kwargs: Any, arithmetic: Arithmetic) -> Any:
    """Integer and boolean operators are torch's own, in the tensors' own dtypes; None if floats come out."""
    try:
        result = overload(*plain(args), **plain(kwargs))
    except NotImplementedError:
        return None
    outputs = [t for t in tree_flatten(result)[0] if isinstance(t, Tensor)]
    if any(t.is_floating_point() for t in outputs):
        return None
    return tree_map(lambda t: Tracked(t, arithmetic) if isinstance(t, Tensor) else t, result)


def _uncertain(overload: OpOverload, args: Any, kwargs: Any, operands: list[Tracked]) -> Any:
    """Integers that rounding decided: a rule that moves or combines them, else nothing can be said."""
    found = lookup(overload)
    if found is not None:
        return by_rule(found, overload, args, kwargs)
    result = overload(*plain(args), **plain(kwargs))
    error = torch.full((), torch.inf, dtype=torch.float64)
    return tree_map(lambda t: Tracked(t, operands[0].arithmetic, error.expand(t.shape)), result)


def _factory(overload: OpOverload, args: Any, kwargs: Any, arithmetic: Arithmetic) -> Tracked:
    """A tensor made of nothing: exact, except that the points of a range are computed and so rounded."""
    made: Tensor = overload(*args, **kwargs)
    if not made.is_floating_point():
        return Tracked(made, arithmetic)
    storage_dtype = made.dtype
    value = made.to(torch.float64)
    if overload.overloadpacket.__name__ not in _STEPPED:
        return Tracked(value, arithmetic, storage_dtype=storage_dtype)
    value = overload(*args, **{**kwargs, "dtype": torch.float64})
    whole = bool((value == value.round()).all())
    if whole and float(value.abs().max() if value.numel() else 0.0) < 1 / arithmetic.roundoff:
        return Tracked(value, arithmetic, storage_dtype=storage_dtype)
    # start + i * step, each of the step, the product and the sum rounded.
    return arithmetic.rounded(value, None, (), units=3.0).rounded_to(storage_dtype)


def known(tensor: Tensor, arithmetic: Arithmetic) -> Tracked:
    """A tensor of the program as exact; under flush, subnormal elements may be read as zero."""
    if not tensor.is_floating_point():
        return Tracked(tensor, arithmetic)
    value = tensor.detach().to(torch.float64)
    error: Tensor | None = None
    if arithmetic.flush:
        magnitude = value.abs()
        subnormal = (magnitude > 0) & (magnitude < torch.finfo(tensor.dtype).smallest_normal)
        if bool(subnormal.any()):
            error = torch.where(subnormal, magnitude, 0.0)
    return Tracked(value, arithmetic, error, storage_dtype=tensor.dtype)
