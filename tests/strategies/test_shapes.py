"""Sizes worth trying, and sizes that fit."""

from __future__ import annotations

import math

import numpy as np
import torch

from tapml_fuzz.strategies import SeedSet, from_examples, shapes


def test_sizes_that_do_not_fit_shrink_the_other_axes(softmax: SeedSet) -> None:
    sizes = {"a": 4, "b": 12, "c": 64, "d": 1025}
    fitted = shapes.fit(softmax.operator, sizes, frozenset({"d"}), 16384)
    assert fitted["d"] == 1025
    assert shapes.elements(softmax.operator, fitted) <= 16384
    assert shapes.fit(softmax.operator, {**sizes, "c": 1, "b": 1}, frozenset({"d"}), 16384)["a"] == 4


def test_what_must_stay_shrinks_last_of_all(softmax: SeedSet) -> None:
    fitted = shapes.fit(softmax.operator, {"a": 2, "b": 1, "c": 1, "d": 1000}, frozenset({"d"}), 300)
    assert fitted == {"a": 1, "b": 1, "c": 1, "d": 250}


def test_elements_are_those_of_all_inputs(embedding: SeedSet) -> None:
    assert shapes.elements(embedding.operator, {"a": 5, "b": 3, "c": 2, "d": 4}) == 15 + 8


def test_boundary_sizes_are_ascending_and_few_where_each_costs_a_build(view: SeedSet) -> None:
    assert list(shapes.BOUNDARY_SIZES) == sorted(set(shapes.BOUNDARY_SIZES))
    for power in range(3, 11):
        assert {2**power - 1, 2**power, 2**power + 1} <= {*shapes.BOUNDARY_SIZES} | {9}
    assert shapes.boundary_sizes(view.operator, "c") == shapes.BOUNDARY_SIZES
    assert shapes.boundary_sizes(view.operator, "a") == shapes.FIXED_AXIS_SIZES


def test_telling_sizes_leave_a_tail_of_one_for_any_block() -> None:
    first = shapes.TELLING_SIZES[0]
    assert all(first % 2**power == 1 for power in range(1, 11))
    assert {0, 1} <= {*shapes.TELLING_SIZES}


def test_a_long_axis_raises_the_limit() -> None:
    assert shapes.limit((("a", 1025),), 100) == 100
    assert shapes.limit((("a", shapes.LONG_SIZE),), 100) > 3 * shapes.LONG_SIZE


def test_outputs_that_a_long_axis_multiplies_are_not_affordable() -> None:
    outer = from_examples("aten.sub.Tensor", [((torch.ones(3, 1), torch.ones(5)), {})], axes=[["n", 1], ["m"]])
    for sizes, fits in (({"n": shapes.LONG_SIZE, "m": 2}, True), ({"n": shapes.LONG_SIZE, "m": 65}, False)):
        tensors = [np.zeros(shape, np.float32) for shape in outer.operator.shapes(sizes)]
        assert shapes.affordable(outer.operator, tensors, sizes) is fits, math.prod(sizes.values())
    short = {"n": 65536, "m": 65536}
    assert shapes.affordable(outer.operator, [], short), "nothing is asked about where no axis is long"
