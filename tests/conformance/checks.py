"""The checks of the conformance kit, one behaviour each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np

from tapml_fuzz.core.case import LAYOUTS, PACKED, Case, Layout
from tapml_fuzz.core.dtypes import FLOATS, NAMES, Array, name_of, numpy_dtype, to_bits
from tapml_fuzz.core.outcome import BuildError, Built, Ok, RunError, RunOutcome, Unsupported
from tapml_fuzz.core.policy import Capabilities
from tapml_fuzz.operators.invoke import call, to_numpy, to_torch
from tapml_fuzz.platforms.session.session import Session
from tests.platforms.operators import LAYER_NORM, SOFTMAX, SUB, A, B, X, Y, add, aten, case, clone

Check = Callable[[Session], None]


def outputs(session: Session, given: Case) -> tuple[Array, ...]:
    """The outputs of a run that must succeed, every element written and no input touched."""
    outcome = session.run(given)
    assert isinstance(outcome, Ok), outcome
    assert not any(outcome.unwritten), f"unwritten: {outcome.unwritten}"
    assert not outcome.mutated, f"mutated: {outcome.mutated}"
    return outcome.outputs


def expected(given: Case) -> list[Array]:
    return [to_numpy(t) for t in call(given.operator, [to_torch(t) for t in given.tensors], given.sizes)]


def capabilities_of(session: Session) -> Capabilities:
    capabilities = session.info().capabilities
    assert capabilities is not None, "an available platform must state its capabilities"
    return capabilities


def claimed(session: Session) -> tuple[str, ...]:
    return capabilities_of(session).dtypes


def takes_empty(session: Session) -> bool:
    return capabilities_of(session).empty


@contextmanager
def asking_nothing(session: Session) -> Iterator[None]:
    """Within, whatever the session asks its platform for fails the check."""

    def asked(*_: Any) -> Any:
        raise AssertionError("the platform was asked for what its capabilities exclude")

    with ExitStack() as patches:
        for name in ("_build", "_run", "_run_batch"):
            if hasattr(session, name):
                patches.enter_context(patch.object(session, name, asked))
        yield


def agree(actual: Array, wanted: Array, tolerance: float = 1e-5) -> None:
    assert actual.shape == wanted.shape, f"shape {actual.shape}, wanted {wanted.shape}"
    assert actual.dtype == wanted.dtype, f"dtype {actual.dtype}, wanted {wanted.dtype}"
    np.testing.assert_allclose(actual.astype(np.float64), wanted.astype(np.float64), tolerance, tolerance)


def echoes_every_dtype_bit_for_bit(session: Session) -> None:
    """Every dtype claimed survives a round trip; specials too: infinities, both zeros, subnormals and quiet NaNs."""
    random = np.random.default_rng(0)
    for dtype in claimed(session):
        bits = random.integers(0, 256, 8 * 16 * numpy_dtype(dtype).itemsize, dtype=np.uint8)
        tensor = (bits % 2 if dtype == "bool" else bits).view(numpy_dtype(dtype))[: 8 * 16].reshape(8, 16).copy()
        if dtype in FLOATS:
            tensor[np.isnan(tensor)] = np.nan  # signalling NaNs may be quieted on the way
            tensor[0, :4] = [np.inf, -np.inf, 0.0, -0.0]
        # Transposed, so that a compiler cannot hand the input back without running anything.
        echo = aten("permute.default", [X, [1, 0]], [(A, B)], dtype)
        (output,) = outputs(session, Case(echo, {"a": 8, "b": 16}, (tensor,)))
        assert name_of(output) == dtype
        np.testing.assert_array_equal(to_bits(output), to_bits(tensor).T, err_msg=dtype)


def adds_in_every_dtype(session: Session) -> None:
    """A dtype that is claimed can be computed in; the sum of two booleans is their disjunction."""
    disjunction = aten("bitwise_or.Tensor", [X, Y], [(A, B), (A, B)], "bool")
    for dtype in claimed(session):
        given = case(disjunction if dtype == "bool" else add(dtype), a=5, b=7)
        (output,) = outputs(session, given)
        agree(output, expected(given)[0], 1e-2)


def computes_softmax(session: Session) -> None:
    for sizes in ({"a": 1, "b": 1}, {"a": 3, "b": 65}, {"a": 129, "b": 31}):
        given = case(SOFTMAX, **sizes)
        agree(outputs(session, given)[0], expected(given)[0])


def keeps_argument_order(session: Session) -> None:
    given = case(SUB, a=4, b=5)
    agree(outputs(session, given)[0], given.tensors[0] - given.tensors[1])


def returns_several_outputs_in_order(session: Session) -> None:
    """The outputs of layer_norm, all and the first alone where no other is used; two slices of unequal extent."""
    given = case(LAYER_NORM, a=6, b=10)
    (first, *_) = outputs(session, given)
    agree(first, expected(given)[0])
    (only,) = outputs(session, case(msgspec.structs.replace(LAYER_NORM, outputs=(0,)), a=6, b=10))
    agree(only, first)
    split = aten("split_with_sizes.default", [X, [3, 4], 1], [(A, B)])
    given = case(split, a=5, b=7)
    first, second = outputs(session, given)
    agree(first, given.tensors[0][:, :3])
    agree(second, given.tensors[0][:, 3:])


def indexes_by_integers(session: Session) -> None:
    """An int64 index tensor works, or is refused in words."""
    from tests.platforms.operators import MINILM

    given = case(MINILM["embedding"], a=3, b=4, c=10, k=6)
    outcome = session.run(given)
    if not isinstance(outcome, Unsupported):
        agree(outputs(session, given)[0], expected(given)[0])


def takes_zero_sizes(session: Session) -> None:
    """Tensors of no elements work, or are refused in words by a platform that says that it does not take them."""
    for sizes in ({"a": 0, "b": 5}, {"a": 5, "b": 0}, {"a": 0, "b": 0}):
        for operator in (add(), SOFTMAX):
            if not takes_empty(session):
                assert isinstance(session.run(case(operator, **sizes)), Unsupported)
                continue
            (output,) = outputs(session, case(operator, **sizes))
            assert output.shape == (sizes["a"], sizes["b"])


def excluded(capabilities: Capabilities) -> Iterator[tuple[Case, str]]:
    """Cases that the capabilities exclude, each with what a refusal has to name."""
    for dtype in NAMES:
        if dtype not in capabilities.accepted:
            yield case(clone(dtype), a=2, b=3), dtype
    dtype = capabilities.dtypes[0]
    if not capabilities.empty:
        yield case(clone(dtype), a=0, b=3), f"{dtype}[0, 3]"
    count = capabilities.max_elements + 1
    view = np.broadcast_to(np.zeros((), numpy_dtype(dtype)), (1, count))  # without the memory
    yield Case(clone(dtype), {"a": 1, "b": count}, (view,)), f"{capabilities.max_elements}"


def is_not_asked_for_what_it_does_not_take(session: Session) -> None:
    """What the capabilities exclude is refused in words, alone and among others, and never reaches the platform."""
    for given, named in excluded(capabilities_of(session)):
        with asking_nothing(session):
            built = session.build(given.operator, given.dtypes, given.sizes)
            for outcome in (session.run(given), *session.run_many([given, given]), built):
                assert isinstance(outcome, Unsupported), outcome
                assert named in outcome.reason
                assert session.name in outcome.reason
            assert session.reproducer(given) is None


def is_given_packed_tensors_unless_it_reads_strides(session: Session) -> None:
    strided, given = capabilities_of(session).strided, list[tuple[Layout, ...]]()
    run = session._run

    def seen(handle: int, ran: Case) -> RunOutcome:
        given.append(ran.layouts)
        return run(handle, ran)

    with patch.object(session, "_run", seen):
        for layout in LAYOUTS:
            outputs(session, case(SUB, layout=layout, a=4, b=5))
    assert given == [(layout if strided else PACKED,) * 2 for layout in LAYOUTS]


def takes_scalars(session: Session) -> None:
    """Tensors of no dimension."""
    given = case(aten("add.Tensor", [X, 2.5], [()]))
    agree(outputs(session, given)[0], expected(given)[0])


def takes_every_layout(session: Session) -> None:
    for layout in LAYOUTS:
        given = case(SUB, layout=layout, a=7, b=9)
        agree(outputs(session, given)[0], given.tensors[0] - given.tensors[1])


def serves_many_shapes_from_one_build(session: Session) -> None:
    """A platform that claims symbolic shapes compiles once, at most."""
    capabilities = capabilities_of(session)
    operator = aten("mul.Tensor", [X, 3.0], [(A, B)])
    before = session.builds
    for a, b in ((2, 3), (1, 1), (64, 65), (0, 4) if takes_empty(session) else (5, 4), (300, 7)):
        given = case(operator, a=a, b=b)
        agree(outputs(session, given)[0], expected(given)[0])
    if capabilities.symbolic:
        assert session.builds - before <= 1
        built = session.build(operator, ("float32",), {"a": 9, "b": 9})
        assert isinstance(built, Built)
        assert built.symbolic


def takes_a_big_buffer(session: Session) -> None:
    """4 Mi elements, and a grid of blocks to match."""
    given = case(SUB, a=2048, b=2048)
    np.testing.assert_array_equal(outputs(session, given)[0], given.tensors[0] - given.tensors[1])


def does_not_count_what_looks_like_poison(session: Session) -> None:
    """An output that happens to equal the poison pattern has been written all the same."""
    from tapml_fuzz.platforms.poison import poisoned

    dtype = "int32" if "int32" in claimed(session) else claimed(session)[0]
    lookalike = poisoned((4, 4), dtype)
    given = Case(clone(dtype), {"a": 4, "b": 4}, (lookalike,))
    np.testing.assert_array_equal(outputs(session, given)[0], lookalike)
    if dtype != "int32":
        return  # a sum that comes out as the pattern is exact in integers only
    given = Case(add("int32"), {"a": 4, "b": 4}, (lookalike - 1, np.ones_like(lookalike)))
    np.testing.assert_array_equal(outputs(session, given)[0], lookalike)


def reports_an_invalid_unit(session: Session) -> None:
    """An operator that no one can build is an outcome, and the session goes on."""
    nonsense = aten("no_such_operator.default", [X], [(A, B)])
    outcome = session.run(case(nonsense, a=2, b=2))
    assert isinstance(outcome, BuildError | Unsupported), outcome
    keeps_argument_order(session)


def reports_what_does_not_fit(session: Session) -> None:
    """Shapes that contradict the operator fail in words, not in numbers."""
    bad = Case(SUB, {"a": 2, "b": 3}, (np.ones((2, 3), np.float32), np.ones((5, 4), np.float32)))
    outcome = session.run(bad)
    assert isinstance(outcome, RunError), outcome
    keeps_argument_order(session)


def repeats_itself(session: Session) -> None:
    """The same case twice gives the same bits: no state is left over, and the caller's arrays are untouched."""
    given = case(SOFTMAX, a=33, b=47)
    kept: list[Any] = [tensor.copy() for tensor in given.tensors]
    first, second = outputs(session, given)[0], outputs(session, given)[0]
    np.testing.assert_array_equal(to_bits(first), to_bits(second))
    for tensor, copy in zip(given.tensors, kept, strict=True):
        np.testing.assert_array_equal(tensor, copy)


def says_what_it_is(session: Session) -> None:
    info = session.info()
    assert info.available
    assert info.device
    assert info.versions
    assert info.policy is not None
    assert info.policy.source


ALL: list[Check] = [
    says_what_it_is,
    echoes_every_dtype_bit_for_bit,
    adds_in_every_dtype,
    computes_softmax,
    keeps_argument_order,
    returns_several_outputs_in_order,
    indexes_by_integers,
    takes_zero_sizes,
    is_not_asked_for_what_it_does_not_take,
    is_given_packed_tensors_unless_it_reads_strides,
    takes_scalars,
    takes_every_layout,
    serves_many_shapes_from_one_build,
    takes_a_big_buffer,
    does_not_count_what_looks_like_poison,
    reports_an_invalid_unit,
    reports_what_does_not_fit,
    repeats_itself,
]
