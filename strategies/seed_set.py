"""Seed sets, around which strategies draw: an operator, the profile of each argument, and recorded calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils._pytree import tree_map

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import is_float
from tapml_fuzz.core.errors import BadInputs, UnknownOperator
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.profile import Profile, profile_of
from tapml_fuzz.operators.axes import infer_many
from tapml_fuzz.operators.invoke import to_numpy, to_torch
from tapml_fuzz.operators.naming import rename_axes
from tapml_fuzz.storage.corpus import Corpus, default_corpus_path


@dataclass(frozen=True, eq=False)
class SeedSet:
    """An operator with one profile per tensor slot and at least one recorded case (a seed)."""

    operator: Operator
    profiles: tuple[Profile, ...]
    seeds: tuple[Case, ...]

    @cached_property
    def floating_slots(self) -> tuple[int, ...]:
        """Slots of the floating tensors."""
        return tuple(i for i, dtype in enumerate(self.operator.dtypes) if is_float(dtype))

    @cached_property
    def integer_slots(self) -> tuple[int, ...]:
        """Integers that are values, not indices."""
        return tuple(
            i for i, d in enumerate(self.operator.dtypes) if d.startswith(("int", "uint")) and i not in self.index_slots
        )

    @cached_property
    def mask_slots(self) -> tuple[int, ...]:
        """Slots of the tensors that are masks by their profile."""
        return tuple(i for i, profile in enumerate(self.profiles) if profile.structure == "mask")

    @cached_property
    def index_slots(self) -> tuple[int, ...]:
        """Slots of the integer tensors that index an axis of another."""
        return tuple(index.slot for index in self.operator.indexes)

    @cached_property
    def extents(self) -> Mapping[str, tuple[int, ...]]:
        """Sizes seen per axis, ascending."""
        return {a: tuple(sorted({s.sizes[a] for s in self.seeds})) for a in self.operator.axis_names}


def from_corpus(operator: str, corpus: str | Path | None = None) -> SeedSet:
    """The first corpus entry whose name, short name or key matches `operator` (a glob).

    Raises `UnknownOperator` when none does, `BadCorpus` when the corpus cannot be read.
    """
    opened = Corpus.open(Path(corpus) if corpus else default_corpus_path())
    entries = opened.match([operator])
    if not entries:
        raise UnknownOperator(f"the corpus has no operator {operator!r}", hint="`corpus list` shows what it has")
    return seed_set_of(opened, entries[0])


def seed_set_of(corpus: Corpus, entry: Any) -> SeedSet:
    """A corpus entry with its seeds loaded."""
    return SeedSet(entry.operator, entry.profiles, tuple(seed.case() for seed in corpus.seeds(entry)))


def _as_tensor(leaf: Any) -> Any:
    return to_torch(leaf.copy()) if isinstance(leaf, np.ndarray) else leaf


def from_examples(
    name: str,
    examples: Sequence[tuple[Sequence[Any], Mapping[str, Any]]],
    operator: Operator | None = None,
    *,
    axes: Sequence[Sequence[str | int]] | None = None,
) -> SeedSet:
    """A seed set from example calls `(args, kwargs)` of an operator, with torch tensors or numpy arrays in them.

    The examples' distribution becomes the profile and their shapes tell which axes agree, unless `operator` or `axes`
    (one sequence of axis names per tensor; an integer keeps an axis at that size) says so already. Raises `BadInputs`
    when the operator rejects an example.
    """
    calls = infer_many(name, tree_map(_as_tensor, list(examples)))
    if not calls[0].tensors or any(t.is_complex() for t in calls[0].tensors):
        raise BadInputs(f"the examples of {name} hold no tensor, or complex ones", hint="give real tensors or arrays")
    if operator is None:
        operator = calls[0].operator
    sizes: Sequence[Mapping[str, int]] = [call.sizes for call in calls]
    if axes is not None:
        given = [tuple(tuple(t.shape) for t in call.tensors) for call in calls]
        operator, sizes = rename_axes(operator, given, axes, sizes)
    seeds = tuple(
        Case(operator, size, tuple(to_numpy(t) for t in call.tensors), origin=f"seed:example-{number}")
        for number, (call, size) in enumerate(zip(calls, sizes, strict=True))
    )
    columns = zip(*(seed.tensors for seed in seeds), strict=True)
    return SeedSet(operator, tuple(profile_of(list(column)) for column in columns), seeds)


__all__ = ["SeedSet", "from_corpus", "from_examples", "seed_set_of"]
