"""Following any torch callable over `Tracked` values, one aten call at a time.

Every aten call it makes is caught by a dispatch mode and applied, decomposed or, where nothing else is left, run with
perturbed inputs; so the callable is followed as it runs and needs no export. A callable that writes in place is made
functional first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from tapml_fuzz.oracle.apply import UNINITIALISED, Undecided, apply, is_tracked, known, plain, tracked_in
from tapml_fuzz.oracle.monte_carlo import perturbed
from tapml_fuzz.oracle.tracked import Arithmetic, Tracked


class Carrier(torch.Tensor):
    """A tensor with the metadata that the program sees, standing for a `Tracked` value."""

    tracked: Tracked
    shared: bool  # another carrier may be a view of the same memory

    @staticmethod
    def __new__(cls, tracked: Tracked) -> Carrier:
        """Make a carrier of the value's shape, strides and stored dtype, on the CPU."""
        value = tracked.value
        dtype = tracked.storage_dtype if tracked.is_floating else value.dtype
        made: Carrier = torch.Tensor._make_wrapper_subclass(
            cls, value.shape, strides=value.stride(), dtype=dtype, device=torch.device("cpu")
        )
        made.tracked = tracked
        made.shared = False
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise RuntimeError(f"{func} left the oracle's trace")  # a callable kept a tensor of an earlier run

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Carrier({self.tracked!r})"


class _WritesInPlace(Exception):
    pass


class _Follow(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Apply every aten call over `Tracked` values and hand the program carriers."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arithmetic = arithmetic

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            return self._write(func, args, kwargs)
        if func is torch.ops.aten._local_scalar_dense.default:
            return args[0].tracked.value.item() if isinstance(args[0], Carrier) else func(*args)
        lowered_args, lowered_kwargs = tree_map(self._lower, (args, dict(kwargs)))
        if func.overloadpacket.__name__ in UNINITIALISED:
            return Carrier(self._unknown(func, lowered_args, lowered_kwargs))
        try:
            result = apply(func, lowered_args, lowered_kwargs, self.arithmetic)
        except Undecided:
            decomposition = _decompositions().get(func)
            if decomposition is not None:
                with self:
                    return decomposition(*args, **kwargs)
            result = perturbed(func, lowered_args, lowered_kwargs, self.arithmetic)
        dtypes = iter(_result_dtypes(func, args, kwargs))
        carried = tree_map(lambda t: self._raise(t, next(dtypes, None)), result, is_leaf=is_tracked)
        if any(r.alias_info is not None for r in func._schema.returns):
            for leaf in tree_flatten((args, kwargs, carried))[0]:
                if isinstance(leaf, Carrier):
                    leaf.shared = True
        return carried

    def _write(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An in-place operator on memory that nobody else sees is its functional twin and a new value."""
        packet = func.overloadpacket.__name__
        twin = getattr(getattr(torch.ops.aten, packet.removesuffix("_"), None), func._overloadname, None)
        target = args[0] if args else None
        if not packet.endswith("_") or twin is None or not isinstance(target, Carrier) or target.shared:
            raise _WritesInPlace(str(func))
        with self:
            written = twin(*args, **kwargs)
        target.tracked = written.tracked.rounded_to(target.dtype) if target.is_floating_point() else written.tracked
        return target

    def _lower(self, leaf: Any) -> Any:
        if isinstance(leaf, Carrier):
            return leaf.tracked
        if isinstance(leaf, Tensor):
            return known(leaf, self.arithmetic)
        return leaf

    @staticmethod
    def _raise(leaf: Any, dtype: torch.dtype | None) -> Any:
        if not isinstance(leaf, Tracked):
            return leaf
        if dtype is not None and dtype.is_floating_point:
            leaf = leaf.rounded_to(dtype)
        return Carrier(leaf)

    def _unknown(self, func: OpOverload, args: Any, kwargs: Any) -> Tracked:
        made: Tensor = func(*plain(args), **plain(kwargs))
        error = torch.full(made.shape, torch.inf, dtype=torch.float64)
        floats = made.is_floating_point()
        value = torch.zeros(made.shape, dtype=torch.float64 if floats else made.dtype)
        return Tracked(value, self.arithmetic, error, storage_dtype=made.dtype if floats else torch.float64)


def trace(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any], arithmetic: Arithmetic
) -> list[Tracked]:
    """Run any torch callable on `Tracked` arguments; its tensor outputs, flattened.

    Raises `NoTruth`, or whatever the callable raises.
    """

    def wrapped(tree: Any) -> Any:
        return tree_map(lambda t: Carrier(t) if isinstance(t, Tracked) else t, tree, is_leaf=is_tracked)

    mode = _Follow(arithmetic)
    with torch.no_grad():
        try:
            with mode:
                result = function(*wrapped(args), **wrapped(kwargs))
        except _WritesInPlace:
            graph = _functional(function, args, kwargs)
            with mode:
                result = graph(*[Carrier(t) for t in tracked_in((args, kwargs))])
    return [
        leaf.tracked if isinstance(leaf, Carrier) else known(leaf, arithmetic)
        for leaf in tree_flatten(result)[0]
        if isinstance(leaf, Tensor)
    ]


def _functional(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    """The callable as a graph without in-place writes, over its tensor arguments alone."""
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves, layout = tree_flatten((args, kwargs), is_leaf=is_tracked)
    places = [i for i, leaf in enumerate(leaves) if is_tracked(leaf)]

    def over_tensors(*tensors: Tensor) -> Any:
        filled = list(leaves)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        positional, named = torch.utils._pytree.tree_unflatten(filled, layout)
        return function(*positional, **named)

    program = [_as_in_program(leaves[i]) for i in places]
    return make_fx(functionalize(over_tensors, remove="mutations_and_views"))(*program)


def _as_in_program(x: Tracked) -> Tensor:
    return x.value.to(x.storage_dtype) if x.is_floating else x.value.clone()


@cache
def _decompositions() -> Mapping[Any, Callable[..., Any]]:
    """torch's decompositions into core aten operators."""
    from torch._decomp import core_aten_decompositions

    return core_aten_decompositions()


_dtypes_seen: dict[Any, tuple[torch.dtype, ...]] = {}


def _result_dtypes(func: OpOverload, args: Any, kwargs: Any) -> tuple[torch.dtype, ...]:
    """Dtypes of a call's outputs, from torch's own shape inference; they do not depend on values or sizes."""
    leaves, _ = tree_flatten((args, kwargs))
    signature = (func, *(_signature(leaf) for leaf in leaves), tuple(kwargs))
    found = _dtypes_seen.get(signature)
    if found is None:
        found = _dtypes_seen[signature] = _inferred(func, args, kwargs)
    return found


def _signature(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.dtype, leaf.ndim == 0
    return leaf if isinstance(leaf, torch.dtype | str | None) else type(leaf)


def _inferred(func: OpOverload, args: Any, kwargs: Any) -> tuple[torch.dtype, ...]:
    def meta(leaf: Any) -> Any:
        return torch.empty(leaf.shape, dtype=leaf.dtype, device="meta") if isinstance(leaf, Tensor) else leaf

    try:
        result = func(*tree_map(meta, args), **tree_map(meta, {k: v for k, v in kwargs.items() if k != "device"}))
    except (NotImplementedError, RuntimeError):
        # No shape inference for this call (a boolean mask as an index): a movement keeps its first dtype.
        result = next(leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor))
    return tuple(t.dtype for t in tree_flatten(result)[0] if isinstance(t, Tensor))
