"""Which sizes agree: found by trial from example calls.

Every axis of every tensor argument, and every integer attribute, is a *position*. Two positions agree when the
operator refuses to see one scaled alone but accepts both scaled together; a `view` that splits an axis makes
that axis the product of two. The result names the free sizes, so that a strategy can vary all of them without
knowing the operator. What the operator itself rejects is no case, so a wrong guess costs trials, not truth.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import torch

from tapml_fuzz.core.errors import BadInputs
from tapml_fuzz.core.operator import DType, Float, Index, Operator, Product, Slot, Template
from tapml_fuzz.operators.invoke import resolve

Example = tuple[Sequence[Any], Mapping[str, Any]]
# A position: ("tensor", slot, axis) or ("attribute", path...) with the path of an integer among the arguments.
Position = tuple[Any, ...]

# Says where a tensor lives or how it is stored, not what it holds.
_IGNORED_KEYWORDS = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})
_FACTOR = 3


@dataclass(frozen=True)
class Call:
    """One example as a concrete call: the operator, the size of every axis, the tensors per slot."""

    operator: Operator
    sizes: dict[str, int]
    tensors: tuple[torch.Tensor, ...]


def infer(name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> Call:
    """The operator behind one example call; see `infer_many`."""
    return infer_many(name, [(args, kwargs or {})])[0]


def infer_many(name: str, examples: Sequence[Example]) -> list[Call]:
    """The one operator behind several example calls, and each example as a call of it.

    Sizes are taken to agree only where they do in every example, so several examples with different sizes tell
    coincidence from rule. Raises `BadInputs` when the examples differ in more than sizes and tensor values, or
    when the operator rejects one of them.
    """
    parsed = [_Parsed(args, kwargs) for args, kwargs in examples]
    if not parsed:
        raise BadInputs(f"no example call of {name} was given")
    first = parsed[0]
    for other in parsed[1:]:
        if other.skeleton != first.skeleton or other.dtypes != first.dtypes:
            raise BadInputs(
                f"the examples of {name} differ in more than sizes", mend="give one set of examples per signature"
            )
    trial = _Trial(resolve(name), parsed)
    if not trial.accepts({}):
        raise BadInputs(f"{name} rejects its example: {trial.last_error}")
    generators = _generators(trial)
    factors = _factors(trial, generators)
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
    operator = _with_indexes(operator, first)
    return [Call(operator, _solve(factors, p), tuple(p.tensors)) for p in parsed]


def rename_axes(
    operator: Operator, shapes: Sequence[tuple[tuple[int, ...], ...]], axes: Sequence[Sequence[str | int]]
) -> tuple[Operator, list[dict[str, int]]]:
    """The operator with its tensor axes named by the user, and the sizes of those axes per example.

    `axes` has one sequence per tensor slot: a name that varies, or an integer for an axis that stays as it is.
    Integer attributes keep following the axis they were found to agree with. Raises `BadInputs` when the names do
    not fit the shapes.
    """
    if [len(a) for a in axes] != [len(a) for a in operator.axes]:
        raise BadInputs(f"axes {list(axes)} do not fit {operator.describe()}", mend="give one name per axis per tensor")
    named = tuple(tuple(Product((n,)) if isinstance(n, str) else Product((), n) for n in names) for names in axes)
    places = {
        p.axes[0]: named[slot][axis]
        for slot, products in enumerate(operator.axes)
        for axis, p in enumerate(products)
        if len(p.axes) == 1 and p.constant == 1
    }
    renamed = msgspec.structs.replace(
        operator,
        axes=named,
        args=tuple(_renamed(a, places) for a in operator.args),
        kwargs={k: _renamed(v, places) for k, v in operator.kwargs.items()},
        indexes=tuple(Index(i.slot, _renamed(i.extent, places), i.negative) for i in operator.indexes),
    )
    solved = []
    for example in shapes:
        sizes = {p.axes[0]: n for products, shape in zip(named, example, strict=True)
                 for p, n in zip(products, shape, strict=True) if p.axes}  # fmt: skip
        if renamed.shapes(sizes) != example:
            raise BadInputs(f"axes {list(axes)} do not fit the example shapes {list(example)}")
        solved.append(sizes)
    return renamed, solved


def _renamed(template: Template, places: Mapping[str, Product]) -> Template:
    if isinstance(template, Product):
        parts = [places.get(name, Product((name,))) for name in template.axes]
        constant = math.prod((p.constant for p in parts), start=template.constant)
        return Product(tuple(a for p in parts for a in p.axes), constant)
    if isinstance(template, list | tuple):
        return [_renamed(item, places) for item in template]
    return template


class _Parsed:
    """An example taken apart into tensors, integer positions and the rest."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.args = list(args)
        self.kwargs = {k: v for k, v in kwargs.items() if k not in _IGNORED_KEYWORDS}
        self.tensors: list[torch.Tensor] = []
        self.values: dict[Position, int] = {}
        rest = [self._walk(a, ("attribute", "args", i)) for i, a in enumerate(self.args)]
        rest += [(k, self._walk(v, ("attribute", "kwargs", k))) for k, v in sorted(self.kwargs.items())]
        self.skeleton = repr(rest)
        self.dtypes = tuple(str(t.dtype).removeprefix("torch.") for t in self.tensors)

    def _walk(self, value: Any, path: Position) -> Any:
        if isinstance(value, torch.Tensor):
            slot = len(self.tensors)
            self.tensors.append(value)
            self.values.update({("tensor", slot, axis): n for axis, n in enumerate(value.shape)})
            return ("tensor", value.dim())
        if isinstance(value, bool) or value is None or isinstance(value, float | str | torch.dtype):
            return value
        if isinstance(value, int):
            self.values[path] = value
            return "int"
        if isinstance(value, list | tuple):
            return [self._walk(item, (*path, i)) for i, item in enumerate(value)]
        raise BadInputs(f"an argument of type {type(value).__name__} is neither tensor, number, text nor list")

    def beside_wildcard(self) -> list[Position]:
        """Integer attributes in a list that also holds -1 ("whatever fits")."""
        wildcards = {p[:-1] for p, value in self.values.items() if p[0] == "attribute" and value == -1}
        return [p for p, value in self.values.items() if p[0] == "attribute" and p[:-1] in wildcards and value > 0]

    def rebuild(self, value: Any, path: Position, leaf: Callable[[int, Position], Any], tensors: Iterator[Any]) -> Any:
        """The same structure with every tensor and integer replaced."""
        if isinstance(value, torch.Tensor):
            return next(tensors)
        if isinstance(value, int) and not isinstance(value, bool):
            return leaf(value, path)
        if isinstance(value, list | tuple):
            return [self.rebuild(item, (*path, i), leaf, tensors) for i, item in enumerate(value)]
        return value

    def template(self, value: Any, path: Position, factors: Mapping[Position, Product]) -> Template:
        if isinstance(value, torch.Tensor):
            return Slot(next(i for i, t in enumerate(self.tensors) if t is value))
        if isinstance(value, torch.dtype):
            return DType(str(value).removeprefix("torch."))
        if isinstance(value, float) and not math.isfinite(value):
            return Float(str(value))
        if isinstance(value, int) and not isinstance(value, bool):
            product = factors.get(path)
            return product if product is not None and product.axes else value
        if isinstance(value, list | tuple):
            return [self.template(item, (*path, i), factors) for i, item in enumerate(value)]
        return value


class _Trial:
    """Asks the operator whether it accepts scaled sizes, on meta tensors where it can run on them."""

    def __init__(self, function: Callable[..., Any], examples: Sequence[_Parsed]) -> None:
        self._function = function
        self.examples = examples
        self._device = "meta"
        self.last_error = ""
        self._memory: dict[tuple[tuple[Position, int], ...], bool] = {}
        if not self._run(examples[0], {}):
            self._device = "cpu"

    def accepts(self, changes: Mapping[Position, int]) -> bool:
        """Whether every example still runs with the positions in `changes` multiplied."""
        key = tuple(sorted(changes.items(), key=repr))
        if key not in self._memory:
            self._memory[key] = all(
                self._run(e, {p: e.values[p] * f for p, f in changes.items()}) for e in self.examples
            )
        return self._memory[key]

    def accepts_sizes(self, sizes: Sequence[Mapping[Position, int]]) -> bool:
        """Whether every example runs with positions set to its entry of `sizes`."""
        return all(self._run(e, s) for e, s in zip(self.examples, sizes, strict=True))

    def _run(self, example: _Parsed, new: Mapping[Position, int]) -> bool:
        tensors = iter([self._resized(example, slot, new) for slot in range(len(example.tensors))])
        leaf = lambda value, path: new.get(path, value)  # noqa: E731
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                args = [example.rebuild(a, ("attribute", "args", i), leaf, tensors) for i, a in enumerate(example.args)]
                kwargs = {
                    k: example.rebuild(v, ("attribute", "kwargs", k), leaf, tensors) for k, v in example.kwargs.items()
                }
                self._function(*args, **kwargs)
        except Exception as error:  # whatever the operator raises is its way to say no
            self.last_error = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            return False
        return True

    def _resized(self, example: _Parsed, slot: int, new: Mapping[Position, int]) -> torch.Tensor:
        tensor = example.tensors[slot]
        shape = [new.get(("tensor", slot, axis), n) for axis, n in enumerate(tensor.shape)]
        if self._device == "meta":
            return torch.empty(shape, dtype=tensor.dtype, device="meta")
        if list(tensor.shape) == shape:
            return tensor.detach().cpu().clone()
        flat = tensor.detach().cpu().reshape(-1)
        count = math.prod(shape)
        if not flat.numel():
            return torch.zeros(shape, dtype=tensor.dtype)
        return flat.repeat(-(-count // flat.numel()))[:count].reshape(shape).clone()


def _generators(trial: _Trial) -> list[frozenset[Position]]:
    """Sets of positions that scale together. A position in several sets is the product of several free sizes."""
    example = trial.examples[0]
    tensor_axes = [p for p in example.values if p[0] == "tensor"]
    found: dict[frozenset[Position], None] = {}
    for position in tensor_axes:
        if any(e.values[position] == 0 for e in trial.examples):
            continue
        for group in _smallest_groups(trial, position, found):
            found.setdefault(group)
    # Attributes that differ between examples without following an axis (the end of a slice) are free sizes too.
    covered = {p for group in found for p in group}
    for position, value in example.values.items():
        varies = any(e.values[position] != value for e in trial.examples)
        if position[0] == "attribute" and position not in covered and varies:
            found.setdefault(frozenset({position}))
    return _consistent(trial, list(found))


def _smallest_groups(
    trial: _Trial, position: Position, found: Collection[frozenset[Position]]
) -> list[frozenset[Position]]:
    values = [e.values for e in trial.examples]
    if trial.accepts({position: _FACTOR}):
        # A -1 among the sizes of a view absorbs any change, so there an equal attribute is the better partner.
        for partner in trial.examples[0].beside_wildcard():
            same = all(v[partner] == v[position] for v in values)
            if same and trial.accepts({position: _FACTOR, partner: _FACTOR}):
                return [frozenset({position, partner})]
        return [frozenset({position})]

    def related(test: Callable[[int, int], bool]) -> list[Position]:
        return [q for q in values[0] if q != position and all(v[q] > 0 and test(v[position], v[q]) for v in values)]

    equal = related(lambda p, q: p == q)
    for count in range(1, min(len(equal), 4) + 1):
        groups = [
            frozenset({position, *others})
            for others in itertools.combinations(equal, count)
            if trial.accepts(dict.fromkeys((position, *others), _FACTOR))
        ]
        if groups:
            # Two equal axes have the same possible partners (a view of square matrices); each takes its own.
            taken = {p for group in found for p in group}
            return [next((g for g in groups if g in found or not g & taken), groups[0])]
    # No equal partner: it may be a product of several positions (all of them), or a factor of one (the smallest).
    differ = {q for q in values[0] if any(v[q] != v[position] for v in values)}
    parts = [q for q in related(lambda p, q: p % q == 0) if q in differ and any(v[q] > 1 for v in values)]
    groups = [frozenset({position, q}) for q in parts if trial.accepts({position: _FACTOR, q: _FACTOR})]
    if groups:
        return groups
    wholes = [q for q in related(lambda p, q: q % p == 0) if q in differ]
    for whole in sorted(wholes, key=lambda q: values[0][q]):
        if trial.accepts({position: _FACTOR, whole: _FACTOR}):
            return [frozenset({position, whole})]
    return []


def _consistent(trial: _Trial, generators: list[frozenset[Position]]) -> list[frozenset[Position]]:
    """Drop size-1 axes that only look free because the other side has size 1 too (both broadcast)."""
    values = trial.examples[0].values
    while generators and not trial.accepts(_together(generators)):
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


def _factors(trial: _Trial, generators: Sequence[frozenset[Position]]) -> dict[Position, Product]:
    """Every position's size as a product of axis names; positions outside every generator stay constant."""
    names = {group: _axis_name(i) for i, group in enumerate(generators)}
    values = trial.examples[0].values
    single = {p: [g for g in generators if p in g] for p in values}
    constants = {group: _granularity(trial, group) for group in generators}
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


def _granularity(trial: _Trial, group: frozenset[Position]) -> int:
    """The smallest step by which a group's size can grow: 1, or the divisor that a fixed attribute demands."""
    values = [e.values for e in trial.examples]
    common = math.gcd(*(v[p] for v in values for p in group))
    if any(len({v[p] for p in group}) > 1 for v in values):
        return 1
    for divisor in range(1, common + 1):
        if common % divisor == 0 and trial.accepts_sizes([{p: v[p] + divisor for p in group} for v in values]):
            return divisor
    return 1


def _solve(factors: Mapping[Position, Product], example: _Parsed) -> dict[str, int]:
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
            raise BadInputs("the sizes of the examples do not agree with one another", mend="name the axes")
    return sizes


def _axis_name(number: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return letters[number] if number < 26 else f"{letters[number % 26]}{number // 26}"


def _with_indexes(operator: Operator, example: _Parsed) -> Operator:
    found: list[Index] = []
    match operator.name.split(".")[:2]:
        case ["aten", "embedding"]:
            found = [Index(1, operator.axes[0][0])]
        case ["aten", "index" | "index_put" | "_unsafe_index"]:
            slots = [a.index if isinstance(a, Slot) else None for a in operator.args[1]]
            found = [
                Index(s, operator.axes[0][axis], negative=True)
                for axis, s in enumerate(slots)
                if s is not None and operator.dtypes[s] != "bool"
            ]
        case ["aten", "gather" | "index_select" | "scatter" | "scatter_add" | "index_add"]:
            dim, slot = operator.args[1], operator.args[2]
            if isinstance(dim, int) and isinstance(slot, Slot) and operator.axes[0]:
                found = [Index(slot.index, operator.axes[0][dim])]
        case _ if operator.name.startswith("python:"):
            found = list(_indexes_by_trial(operator, example))
    return msgspec.structs.replace(operator, indexes=tuple(found))


def _indexes_by_trial(operator: Operator, example: _Parsed) -> Iterator[Index]:
    """An integer tensor indexes an axis when its size is the first value the operator rejects."""
    function = resolve(operator.name)

    def runs(slot: int, value: int) -> bool:
        tensors = [t.detach().cpu().clone() for t in example.tensors]
        if not tensors[slot].numel():
            return True
        tensors[slot].view(-1)[-1] = value
        args, kwargs = _rebuilt(example, tensors)
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                function(*args, **kwargs)
        except Exception:  # the operator's way to say no
            return False
        return True

    for slot, dtype in enumerate(operator.dtypes):
        if not dtype.startswith(("int", "uint")):
            continue
        for other, axes in enumerate(operator.axes):
            size = next((n for n in example.tensors[other].shape if not runs(slot, n) and runs(slot, n - 1)), None)
            if other != slot and size is not None:
                axis = list(example.tensors[other].shape).index(size)
                yield Index(slot, axes[axis], negative=runs(slot, -1) and runs(slot, -size))
                break


def _rebuilt(example: _Parsed, tensors: Sequence[torch.Tensor]) -> tuple[list[Any], dict[str, Any]]:
    supply = iter(tensors)
    keep = lambda value, path: value  # noqa: E731
    args = [example.rebuild(a, (), keep, supply) for a in example.args]
    return args, {k: example.rebuild(v, (), keep, supply) for k, v in example.kwargs.items()}
