"""Axes named by the user in place of inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from tapml_fuzz.core.errors import BadInputs
from tapml_fuzz.core.operator import Index, Operator, Product, Template


def rename_axes(
    operator: Operator,
    shapes: Sequence[tuple[tuple[int, ...], ...]],
    axes: Sequence[Sequence[str | int]],
    inferred: Sequence[Mapping[str, int]],
) -> tuple[Operator, list[dict[str, int]]]:
    """The operator with its tensor axes named by the user, and the sizes of those axes per example.

    `axes` has one sequence per tensor slot: a name that varies, or an integer for an axis that stays as it is.
    Integer attributes keep following the axis they were found to agree with, if it has a name now; otherwise they stay
    what they were at the `inferred` sizes. Raises `BadInputs` when the names do not fit the shapes.
    """
    if [len(a) for a in axes] != [len(a) for a in operator.axes]:
        raise BadInputs(f"axes {list(axes)} do not fit {operator.describe()}", hint="give one name per axis per tensor")
    named = tuple(tuple(Product((n,)) if isinstance(n, str) else Product((), n) for n in names) for names in axes)
    places = {
        p.axes[0]: named[slot][axis]
        for slot, products in enumerate(operator.axes)
        for axis, p in enumerate(products)
        if len(p.axes) == 1 and p.constant == 1
    }
    rename = partial(_renamed, places=places, inferred=inferred)
    renamed = msgspec.structs.replace(
        operator,
        axes=named,
        args=tuple(map(rename, operator.args)),
        kwargs={k: rename(v) for k, v in operator.kwargs.items()},
        indexes=tuple(Index(i.slot, rename(i.extent), i.negative) for i in operator.indexes),
    )
    solved = []
    for example in shapes:
        sizes = {p.axes[0]: n for products, shape in zip(named, example, strict=True)
                 for p, n in zip(products, shape, strict=True) if p.axes}  # fmt: skip
        if renamed.shapes(sizes) != example:
            raise BadInputs(f"axes {list(axes)} do not fit the example shapes {list(example)}")
        solved.append(sizes)
    return renamed, solved


def _renamed(template: Template, places: Mapping[str, Product], inferred: Sequence[Mapping[str, int]]) -> Template:
    if isinstance(template, Product):
        if not places.keys() >= set(template.axes):
            values = {template.value(sizes) for sizes in inferred}
            if len(values) > 1:
                raise BadInputs(f"an attribute follows {template}, which no name in axes= stands for")
            return Product((), values.pop())
        parts = [places[name] for name in template.axes]
        constant = math.prod((p.constant for p in parts), start=template.constant)
        return Product(tuple(a for p in parts for a in p.axes), constant)
    if isinstance(template, list | tuple):
        return [_renamed(item, places, inferred) for item in template]
    return template
