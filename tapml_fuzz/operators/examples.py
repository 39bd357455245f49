"""Example calls taken apart into tensors and sizes, and trials of an operator at other sizes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from tapml_fuzz.core.errors import BadInputs
from tapml_fuzz.core.operator import DType, Float, Product, Slot, Template

# A position: ("tensor", slot, axis) or ("attribute", path...) with the path of an integer among the arguments.
Position = tuple[Any, ...]

# Says where a tensor lives or how it is stored, not what it holds.
_IGNORED_KEYWORDS = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking"})


class ParsedExample:
    """An example taken apart into tensors, integer positions and the rest."""

    def __init__(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.args = list(args)
        self.kwargs = {k: v for k, v in kwargs.items() if k not in _IGNORED_KEYWORDS}
        self.tensors: list[torch.Tensor] = []
        self.values: dict[Position, int] = {}
        self._slots: dict[Position, int] = {}  # by path: one tensor given twice is two slots
        rest = [self._walk(a, ("attribute", "args", i)) for i, a in enumerate(self.args)]
        rest += [(k, self._walk(v, ("attribute", "kwargs", k))) for k, v in sorted(self.kwargs.items())]
        self.skeleton = repr(rest)
        self.dtypes = tuple(str(t.dtype).removeprefix("torch.") for t in self.tensors)

    def _walk(self, value: Any, path: Position) -> Any:
        if isinstance(value, torch.Tensor):
            slot = self._slots[path] = len(self.tensors)
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
        """The argument at `path` as a template: tensors as slots, integers as their products of axes."""
        if isinstance(value, torch.Tensor):
            return Slot(self._slots[path])
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


class SizeProbe:
    """Asks the operator whether it accepts scaled sizes, on meta tensors where it can run on them."""

    def __init__(self, function: Callable[..., Any], examples: Sequence[ParsedExample]) -> None:
        self._function = function
        self.examples = examples
        self._device = "meta"
        self.last_error = ""
        self._memory: dict[tuple[tuple[Position, int], ...], bool] = {}
        if not self._run(examples[0], {}):
            self._device = "cpu"

    def accepts(self, changes: Mapping[Position, int]) -> bool:
        """Tell whether every example still runs with the positions in `changes` multiplied."""
        key = tuple(sorted(changes.items(), key=repr))
        if key not in self._memory:
            self._memory[key] = all(
                self._run(e, {p: e.values[p] * f for p, f in changes.items()}) for e in self.examples
            )
        return self._memory[key]

    def accepts_sizes(self, sizes: Sequence[Mapping[Position, int]]) -> bool:
        """Tell whether every example runs with positions set to its entry of `sizes`."""
        return all(self._run(e, s) for e, s in zip(self.examples, sizes, strict=True))

    def _run(self, example: ParsedExample, new: Mapping[Position, int]) -> bool:
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

    def _resized(self, example: ParsedExample, slot: int, new: Mapping[Position, int]) -> torch.Tensor:
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
