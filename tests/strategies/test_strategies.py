"""Strategies alone, as a user's own `@given` test would use them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, seed, settings
from hypothesis import strategies as st

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import FLOATS, largest, name_of, smallest_normal
from tapml_fuzz.core.errors import UnknownOperator
from tapml_fuzz.core.profile import profile_of
from tapml_fuzz.operators.invoke import call, to_torch
from tapml_fuzz.strategies import (
    PHASES,
    Recipe,
    SeedSet,
    Step,
    cases,
    from_corpus,
    from_examples,
    realise,
    realism,
    recipes,
    shapes,
    specials,
    structure,
    values,
)

quick = settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def softmax() -> SeedSet:
    return from_corpus("softmax")


@pytest.fixture(scope="module")
def embedding() -> SeedSet:
    return from_corpus("embedding")


def drawn(seed_set: SeedSet, count: int = 150, **options: object) -> list[Case]:
    found: list[Case] = []

    @seed(5)
    @settings(quick, max_examples=count, phases=[Phase.generate])
    @given(cases(seed_set, **options))  # type: ignore[arg-type]
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


@pytest.mark.parametrize(
    "name", ["softmax", "embedding", "native_layer_norm", "addmm", "where", "view", "index", "sum"]
)
def test_reference_accepts_every_drawn_case(name: str) -> None:
    seed_set = from_corpus(name)
    for case in drawn(seed_set, 80):
        assert case.shapes == seed_set.operator.shapes(case.sizes)
        call(case.operator, [to_torch(t.copy()) for t in case.tensors], case.sizes)


def test_same_recipe_gives_same_bytes(softmax: SeedSet) -> None:
    @quick
    @given(recipes(softmax, dtypes=("", "bfloat16")))
    def check(recipe: Recipe) -> None:
        first, second = realise(recipe, softmax), realise(recipe, softmax)
        assert (first is None) == (second is None)
        assert first is None or second is None or first.id == second.id

    check()


def test_all_phases_and_boundaries_are_reached(softmax: SeedSet) -> None:
    found = drawn(softmax, 400)
    assert {case.origin.split(":")[0] for case in found} == set(PHASES)
    sizes = {n for case in found for n in case.sizes.values()}
    assert {0, 1, 31, 33, 127, 1025} & sizes
    assert any(np.isnan(t).any() for case in found for t in case.tensors)
    assert {"observed", "near", "special", "degenerate"} <= {realism(case, softmax) for case in found}


def test_cases_stay_within_the_element_bound(softmax: SeedSet) -> None:
    assert max(c.elements for c in drawn(softmax, 150, max_elements=4096, phases=["shapes"])) <= 4096


def test_indices_stay_valid_in_every_phase(embedding: SeedSet) -> None:
    (index,) = embedding.operator.indexes
    for case in drawn(embedding, 300):
        ids, extent = case.tensors[index.slot], index.extent.value(case.sizes)
        assert not ids.size or (ids.min() >= 0 and ids.max() < extent)
    assert any(
        c.tensors[index.slot].size and (c.tensors[index.slot] == c.sizes["a"] - 1).all() for c in drawn(embedding, 300)
    )


def test_shrinking_ends_at_a_simple_recipe(softmax: SeedSet) -> None:
    recipe = find(
        recipes(softmax), lambda r: any(s.kind == "special" for s in r.steps), settings=settings(database=None)
    )
    assert recipe.seed_index == 0
    assert recipe.sizes == ()
    assert recipe.layouts == ()
    assert recipe.steps == (Step("special", 0, 0.0, specials.SPECIALS[0]),)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_casts_keep_masks_finite(dtype: str) -> None:
    masked = np.array([0.0, np.finfo(np.float32).min, np.inf], np.float32)
    cast = values.stored(masked, dtype)
    assert name_of(cast) == dtype
    assert float(cast[1]) == -largest(dtype)
    assert np.isinf(float(cast[2]))


def test_resampled_values_follow_the_profile() -> None:
    random = np.random.default_rng(1)
    observed = random.normal(size=(400, 64)) * np.where(np.arange(64) == 5, 60.0, 1.0)
    profile = profile_of([observed.astype(np.float32)])
    fresh = values.resampled(profile, (300, 64), random)
    assert fresh.min() >= profile.low
    assert fresh.max() <= profile.high
    deviations = fresh.std(axis=0)
    assert deviations.max() > 15 * np.median(deviations)  # an outlier channel is still one
    marginal = values.resampled(profile_of([observed[:, :4].astype(np.float32)]), (4000,), random)
    assert np.isclose(np.median(marginal), np.median(observed[:, :4]), atol=0.15)


def test_mutations_do_what_they_say() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 8)).astype(np.float32)
    before = x.copy()
    assert np.allclose(values.collapsed(x, 0.0).std(axis=-1), 0, atol=1e-6)
    assert (values.equal_rows(x) == x[0]).all()
    assert (values.equal_elements(x) == x[:, :1]).all()
    assert (np.diff(values.sorted_rows(x, descending=False), axis=-1) >= 0).all()
    scaled = values.channel_scaled(x, 100.0, random)
    assert ((scaled != x).any(axis=0)).sum() == 1
    assert np.array_equal(x, before), "mutations never write into the recorded tensor"
    for name in specials.SPECIALS:
        assert specials.placed(x, name, 0, random).tobytes() != b""
    assert np.array_equal(x, before)


@pytest.mark.parametrize("dtype", FLOATS)
def test_specials_exist_in_every_dtype(dtype: str) -> None:
    assert 0 < specials.special("subnormal", dtype) < smallest_normal(dtype)
    assert specials.special("largest", dtype) == largest(dtype)


def test_mask_arrangements() -> None:
    random = np.random.default_rng(0)
    array = np.ones((2, 4, 6), bool)
    profile = profile_of([array, ~array])
    assert not structure.mask("mask-all", array, profile, random).any()
    assert structure.mask("mask-none", ~array, profile, random).all()
    causal = structure.mask("mask-causal", array, profile, random)
    assert causal[0, 0].tolist() == [True] + 5 * [False]
    prefix = structure.mask("mask-prefix", array, profile, random)
    assert (np.diff(prefix.astype(int), axis=-1) <= 0).all()


def test_realism_levels() -> None:
    x = np.linspace(-3, 4, 12, dtype=np.float32).reshape(3, 4)
    seed_set = from_examples("aten._softmax.default", [((torch.from_numpy(x), -1, False), {})])
    seed_case = seed_set.seeds[0]

    def level(array: np.ndarray) -> str:  # type: ignore[type-arg]
        return realism(seed_case.with_tensors((array.astype(np.float32),)), seed_set)

    assert realism(seed_case, seed_set) == "observed"
    assert level(x / 2) == "near"
    assert level(x * 3) == "extrapolated"
    assert level(np.where(x > 3, np.nan, x)) == "special"
    assert level(np.where(x > 3, 1e-40, x)) == "special"
    assert level(np.where(x > 3, 3e38, x)) == "special"
    assert level(x[:0]) == "degenerate"


def test_sizes_that_do_not_fit_shrink_the_other_axes() -> None:
    operator = from_corpus("softmax").operator
    sizes = {"a": 4, "b": 12, "c": 64, "d": 1025}
    fitted = shapes.fit(operator, sizes, frozenset({"d"}), 16384)
    assert fitted["d"] == 1025
    assert shapes.elements(operator, fitted) <= 16384


def test_unknown_operator_names_the_mend() -> None:
    with pytest.raises(UnknownOperator, match="corpus list"):
        from_corpus("aten.nosuch.default")


@quick
@given(st.data())
def test_users_own_test_with_examples(data: st.DataObject) -> None:
    seed_set = from_examples("aten.add.Tensor", [((torch.randn(3, 4), torch.randn(4)), {})])
    case = data.draw(cases(seed_set, phases=["shapes", "values"]))
    x, y = case.tensors
    assert x.shape[-1] == y.shape[-1]
