"""Inference of which sizes agree, by trial from example calls.

Every axis of every tensor argument, and every integer attribute, is a *position*. Two positions agree when the
operator refuses to see one scaled alone but accepts both scaled together; a `view` that splits an axis makes
that axis the product of two. The result names the free sizes, so that a strategy can vary all of them without
knowing the operator. What the operator itself rejects is no case, so a wrong guess costs trials, not truth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tapml_fuzz.core.errors import BadInputs
from tapml_fuzz.core.operator import Operator, Product
from tapml_fuzz.operators.examples import ParsedExample, Position, SizeProbe
from tapml_fuzz.operators.indexes import with_indexes
from tapml_fuzz.operators.invoke import resolve

Example = tuple[Sequence[Any], Mapping[str, Any]]
# A size is scaled by this to see which others agree with it. Chosen: small, since every trial runs at the scaled size.
_FACTOR = 3


@dataclass(frozen=True)
class InferredCall:
    """One example as a concrete call: the operator, the size of every axis, the tensors per slot."""

    operator: Operator
    sizes: dict[str, int]
    tensors: tuple[torch.Tensor, ...]


def infer(name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> InferredCall:
    """The operator behind one example call; see `infer_many`."""
    return infer_many(name, [(args, kwargs or {})])[0]


def infer_many(name: str, examples: Sequence[Example]) -> list[InferredCall]:
    """The one operator behind several example calls, and each example as a call of it.

    Sizes are taken to agree only where they do in every example, so several examples with different sizes tell
    coincidence from rule. Raises `BadInputs` when the examples differ in more than sizes and tensor values, or
    when the operator rejects one of them.
    """
    parsed = [ParsedExample(args, kwargs) for args, kwargs in examples]
    if not parsed:
        raise BadInputs(f"no example call of {name} was given")
    first = parsed[0]
    for other in parsed[1:]:
        if other.skeleton != first.skeleton or other.dtypes != first.dtypes:
            raise BadInputs(
                f"the examples of {name} differ in more than sizes", hint="give one set of examples per signature"
            )
    probe = SizeProbe(resolve(name), parsed)
    if not probe.accepts({}):
        raise BadInputs(f"{name} rejects its example: {probe.last_error}")
    generators = _generators(probe)
    factors = _factors(probe, generators)
    axes = tuple(
        tuple(factors["tensor", slot, axis] for axis in range(tensor.dim()))
        for slot, tensor in enumerate(first.tensors)
    )
    operator = Operator(
        name=name,
        args=tuple(first.template(a, ("attribute", "args", i), factors) for i, a in enumerate(first.args)),
        kwargs={k: first.template(v, ("attribute", "kwargs", k), factors) for k, v in first.kwargs.items()},
        axes=axes,
        dtypes=first.dtypes,
    )
    operator = with_indexes(operator, first)
    return [InferredCall(operator, _solve(factors, p), tuple(p.tensors)) for p in parsed]


def fixed(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], outputs: tuple[int, ...] = ()) -> InferredCall:
    """One call as an operator of its own, with every size a constant: for calls whose axes nothing tells.

    `outputs` as in `Operator`. Raises `BadInputs` for an argument that is neither tensor, number, text nor list.
    """
    example = ParsedExample(args, kwargs)
    factors = {position: Product((), value) for position, value in example.values.items()}
    operator = Operator(
        name=name,
        args=tuple(example.template(a, ("attribute", "args", i), factors) for i, a in enumerate(example.args)),
        kwargs={k: example.template(v, ("attribute", "kwargs", k), factors) for k, v in example.kwargs.items()},
        axes=tuple(tuple(Product((), extent) for extent in tensor.shape) for tensor in example.tensors),
        dtypes=example.dtypes,
        outputs=outputs,
    )
    return InferredCall(operator, {}, tuple(example.tensors))


def _generators(probe: SizeProbe) -> list[frozenset[Position]]:
    """Sets of positions that scale together. A position in several sets is the product of several free sizes."""
    example = probe.examples[0]
    tensor_axes = [p for p in example.values if p[0] == "tensor"]
    found: dict[frozenset[Position], None] = {}
    for position in tensor_axes:
        if any(e.values[position] == 0 for e in probe.examples):
            continue
        for group in _smallest_groups(probe, position, found):
            found.setdefault(group)
    # Attributes that differ between examples without following an axis (the end of a slice) are free sizes too.
    covered = {p for group in found for p in group}
    for position, value in example.values.items():
        varies = any(e.values[position] != value for e in probe.examples)
        if position[0] == "attribute" and position not in covered and varies:
            found.setdefault(frozenset({position}))
    return _consistent(probe, list(found))


def _smallest_groups(
    probe: SizeProbe, position: Position, found: Collection[frozenset[Position]]
) -> list[frozenset[Position]]:
    values = [e.values for e in probe.examples]
    if probe.accepts({position: _FACTOR}):
        # A -1 among the sizes of a view absorbs any change, so there an equal attribute is the better partner.
        for partner in probe.examples[0].beside_wildcard():
            same = all(v[partner] == v[position] for v in values)
            if same and probe.accepts({position: _FACTOR, partner: _FACTOR}):
                return [frozenset({position, partner})]
        return [frozenset({position})]

    def related(test: Callable[[int, int], bool]) -> list[Position]:
        return [q for q in values[0] if q != position and all(v[q] > 0 and test(v[position], v[q]) for v in values)]

    equal = related(lambda p, q: p == q)
    for count in range(1, min(len(equal), 4) + 1):
        groups = [
            frozenset({position, *others})
            for others in itertools.combinations(equal, count)
            if probe.accepts(dict.fromkeys((position, *others), _FACTOR))
        ]
        if groups:
            # Two equal axes have the same possible partners (a view of square matrices); each takes its own.
            taken = {p for group in found for p in group}
            return [next((g for g in groups if g in found or not g & taken), groups[0])]
    # No equal partner: it may be a product of several positions (all of them), or a factor of one (the smallest).
    differ = {q for q in values[0] if any(v[q] != v[position] for v in values)}
    parts = [q for q in related(lambda p, q: p % q == 0) if q in differ and any(v[q] > 1 for v in values)]
    groups = [frozenset({position, q}) for q in parts if probe.accepts({position: _FACTOR, q: _FACTOR})]
    if groups:
        return groups
    wholes = [q for q in related(lambda p, q: q % p == 0) if q in differ]
    for whole in sorted(wholes, key=lambda q: values[0][q]):
        if probe.accepts({position: _FACTOR, whole: _FACTOR}):
            return [frozenset({position, whole})]
    return []


def _consistent(probe: SizeProbe, generators: list[frozenset[Position]]) -> list[frozenset[Position]]:
    """Drop size-1 axes that only look free because the other side has size 1 too (both broadcast)."""
    values = probe.examples[0].values
    while generators and not probe.accepts(_together(generators)):
        suspects = [g for g in generators if all(values[p] == 1 for p in g)]
        if not suspects:
            suspects = generators[-1:]
        generators = [g for g in generators if g is not suspects[-1]]
    return generators


def _together(generators: Sequence[frozenset[Position]]) -> dict[Position, int]:
    """Every generator scaled by a factor of its own."""
    changes: dict[Position, int] = {}
    for group, prime in zip(generators, itertools.cycle((2, 3, 5, 7)), strict=False):
        for position in group:
            changes[position] = changes.get(position, 1) * prime
    return changes


def _factors(probe: SizeProbe, generators: Sequence[frozenset[Position]]) -> dict[Position, Product]:
    """Every position's size as a product of axis names; positions outside every generator stay constant."""
    names = {group: _axis_name(i) for i, group in enumerate(generators)}
    values = probe.examples[0].values
    single = {p: [g for g in generators if p in g] for p in values}
    constants = {group: _granularity(probe, group) for group in generators}
    factors: dict[Position, Product] = {}
    for position, groups in single.items():
        if not groups:
            factors[position] = Product((), values[position])
        elif len(groups) == 1:
            group = groups[0]
            alone = all(len(single[q]) == 1 for q in group)
            smallest = min(values[q] for q in group)
            if alone and all(values[q] == smallest for q in group):
                factors[position] = Product((names[group],), constants[group])
            else:
                # A member that is larger than the smallest carries the rest as a constant, unless it is a product.
                ratio = values[position] // smallest if values[position] % smallest == 0 else 1
                factors[position] = Product((names[group],), ratio)
        else:
            factors[position] = Product(tuple(names[g] for g in groups))
    return factors


def _granularity(probe: SizeProbe, group: frozenset[Position]) -> int:
    """The smallest step by which a group's size can grow: 1, or the divisor that a fixed attribute demands."""
    values = [e.values for e in probe.examples]
    common = math.gcd(*(v[p] for v in values for p in group))
    if any(len({v[p] for p in group}) > 1 for v in values):
        return 1
    for divisor in range(1, common + 1):
        if common % divisor == 0 and probe.accepts_sizes([{p: v[p] + divisor for p in group} for v in values]):
            return divisor
    return 1


def _solve(factors: Mapping[Position, Product], example: ParsedExample) -> dict[str, int]:
    """The size of every axis name in one example; raises `BadInputs` where none fits."""
    sizes: dict[str, int] = {}
    for position, product in factors.items():
        if len(product.axes) == 1 and product.axes[0] not in sizes:
            sizes[product.axes[0]] = example.values[position] // product.constant
    for position, product in factors.items():
        missing = [name for name in product.axes if name not in sizes]
        if len(missing) == 1:
            known = math.prod((sizes[n] for n in product.axes if n != missing[0]), start=product.constant)
            sizes[missing[0]] = example.values[position] // known if known else 0
        if position[0] == "tensor" and product.value(sizes) != example.values[position]:
            raise BadInputs("the sizes of the examples do not agree with one another", hint="name the axes")
    return sizes


def _axis_name(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return letters[number] if number < 26 else f"{letters[number % 26]}{number // 26}"
