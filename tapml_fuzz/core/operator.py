"""The unit under test: one aten overload (or torch callable) with its attributes, as pure data.

An `Operator` is a call with holes. A `Slot` stands where a tensor goes; a `Product` of axis names stands for
every size, whether an axis of a tensor or an integer attribute that must agree with one (`normalized_shape`,
the sizes of a `view`). Giving every axis a size makes the call concrete.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec


class Slot(msgspec.Struct, frozen=True, tag="slot"):
    """The place of tensor number `index` among the arguments."""

    index: int


class Product(msgspec.Struct, frozen=True, tag="product"):
    """A size: the product of named axes and a constant, e.g. `2 * batch * seq`."""

    axes: tuple[str, ...] = ()
    constant: int = 1

    def value(self, sizes: Mapping[str, int]) -> int:
        """The size itself, given the size of every axis."""
        return math.prod((sizes[name] for name in self.axes), start=self.constant)

    def __str__(self) -> str:
        factors = [*self.axes] if self.constant == 1 and self.axes else [str(self.constant), *self.axes]
        return "*".join(factors)


class DType(msgspec.Struct, frozen=True, tag="dtype"):
    """A dtype attribute, e.g. the target of a cast. `input` follows the operator's first floating input."""

    name: str


class Float(msgspec.Struct, frozen=True, tag="float"):
    """A float attribute that JSON has no number for: `"inf"`, `"-inf"`, `"nan"`."""

    text: str


# An argument's template: a hole, a constant, or a (nested) list of them. msgspec cannot express the recursion.
Template = Any
_Leaf = Slot | Product | DType | Float
_LEAVES: dict[str, type[_Leaf]] = {"slot": Slot, "product": Product, "dtype": DType, "float": Float}


class Index(msgspec.Struct, frozen=True):
    """The values of tensor `slot` index the axis of size `extent`; `negative` says whether -extent.. is legal too."""

    slot: int
    extent: Product
    negative: bool = False


class Operator(msgspec.Struct, frozen=True, dict=True):
    """One operator signature.

    Attributes:
        name: aten overload (`"aten._softmax.default"`) or `"python:<qualified name>"` for a user's callable.
        args, kwargs: templates, with `Slot`s where tensors go.
        axes: per tensor slot, per axis, the size as a `Product` of axis names.
        dtypes: per tensor slot, the dtype observed.
        indexes: which integer tensors index which axis.
        outputs: numbers of the outputs that are used, where the operator has more (a layer norm's mean); empty: all.
    """

    name: str
    args: tuple[Template, ...]
    kwargs: dict[str, Template]
    axes: tuple[tuple[Product, ...], ...]
    dtypes: tuple[str, ...]
    indexes: tuple[Index, ...] = ()
    outputs: tuple[int, ...] = ()

    @property
    def short_name(self) -> str:
        """`aten._softmax.default` -> `softmax`; a callable's last name part."""
        part = self.name.split(".")[1] if self.name.startswith("aten.") else self.name.rsplit(".", 1)[-1]
        return part.rsplit(":", 1)[-1].strip("_<>") or "operator"

    @cached_property
    def key(self) -> str:
        """Stable identity, e.g. `softmax-1f0c22ab`: equal for equal signatures, whatever the sizes."""
        return f"{self.short_name}-{hashlib.blake2b(encode_operator(self), digest_size=4).hexdigest()}"

    def matches(self, globs: Sequence[str]) -> bool:
        """Tell whether name (`aten._softmax.default`), short name (`softmax`) or key matches any of the globs."""
        return any(fnmatch.fnmatchcase(text, glob) for glob in globs for text in (self.name, self.short_name, self.key))

    @cached_property
    def axis_names(self) -> tuple[str, ...]:
        """Every axis name, in the order of first use by tensors, then by attributes."""
        names: dict[str, None] = {}
        for size in [*(s for axes in self.axes for s in axes), *_products((*self.args, *self.kwargs.values()))]:
            names.update(dict.fromkeys(size.axes))
        return tuple(names)

    @cached_property
    def symbolic_axes(self) -> frozenset[str]:
        """Axes a compiler can leave open: those that some tensor carries alone, so a shape determines them.

        An axis that occurs only inside products or attributes cannot be read off a shape; nor may an open axis
        be a factor of a product with another (compilers cannot solve for it).
        """
        alone = {s.axes[0] for axes in self.axes for s in axes if len(s.axes) == 1 and s.constant == 1}
        mixed = [s.axes for axes in self.axes for s in axes if len(s.axes) > 1]
        mixed += [p.axes for p in _products((*self.args, *self.kwargs.values())) if len(p.axes) > 1]
        hidden = {name for axes in mixed if not set(axes) <= alone for name in axes}
        return frozenset(alone - hidden)

    def shapes(self, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
        """Shape of every tensor slot, given the size of every axis."""
        return tuple(tuple(size.value(sizes) for size in axes) for axes in self.axes)

    def bind(
        self, tensors: Sequence[Any], sizes: Mapping[str, int], *, dtype_of: Any = None
    ) -> tuple[list[Any], dict[str, Any]]:
        """Fill the holes: positional and keyword arguments ready to call.

        `dtype_of` turns a dtype name into the library's dtype object (default: leave the name).
        """

        def fill(template: Template) -> Any:
            match template:
                case Slot(index):
                    return tensors[index]
                case Product():
                    return template.value(sizes)
                case DType(name):
                    return dtype_of(name) if dtype_of else name
                case Float(text):
                    return float(text)
                case list() | tuple():
                    return [fill(item) for item in template]
                case _:
                    return template

        return [fill(a) for a in self.args], {k: fill(v) for k, v in self.kwargs.items()}

    def describe(self) -> str:
        """A line for people: `aten.add.Tensor(float32[a, b], float32[b])`."""

        def show(template: Template) -> str:
            match template:
                case Slot(index):
                    return f"{self.dtypes[index]}[{', '.join(map(str, self.axes[index]))}]"
                case DType(name):
                    return name
                case Float(text):
                    return text
                case list() | tuple():
                    return f"[{', '.join(show(item) for item in template)}]"
                case _:
                    return str(template)

        parts = [show(a) for a in self.args] + [f"{k}={show(v)}" for k, v in self.kwargs.items()]
        used = f" -> {', '.join(map(str, self.outputs))}" if self.outputs else ""
        return f"{self.name}({', '.join(parts)}){used}"

    def used(self, outputs: Sequence[Any]) -> list[Any]:
        """Those of all outputs that are used, in order."""
        return [outputs[i] for i in self.outputs] if self.outputs else list(outputs)


def _products(templates: Sequence[Template]) -> list[Product]:
    found: list[Product] = []
    for template in templates:
        if isinstance(template, Product):
            found.append(template)
        elif isinstance(template, list | tuple):
            found.extend(_products(template))
    return found


def _revive(template: Any) -> Template:
    if isinstance(template, dict):
        leaf = _LEAVES.get(str(template.get("type")))
        if leaf is None:
            raise msgspec.ValidationError(f"unknown argument kind {template.get('type')!r}")
        return msgspec.convert(template, leaf)
    if isinstance(template, list):
        return [_revive(item) for item in template]
    if template is None or isinstance(template, bool | int | float | str):
        return template
    raise msgspec.ValidationError(f"unknown argument of type {type(template).__name__}")


_encoder = msgspec.json.Encoder(order="sorted")


def encode_operator(operator: Operator) -> bytes:
    """Canonical JSON: equal operators give equal bytes."""
    return _encoder.encode(operator)


def operator_from(data: Any) -> Operator:
    """Revive an operator from decoded JSON or msgpack; raises `msgspec.ValidationError` on anything malformed."""
    raw = msgspec.convert(data, Operator)
    return msgspec.structs.replace(
        raw,
        args=tuple(_revive(list(raw.args))),
        kwargs={name: _revive(value) for name, value in raw.kwargs.items()},
    )


def decode_operator(raw: bytes) -> Operator:
    """The inverse of `encode_operator`; raises `msgspec.DecodeError` or `msgspec.ValidationError`."""
    return operator_from(msgspec.json.decode(raw))
