"""Host-side expressions against TVM's own constant folding."""

from __future__ import annotations

import pytest

tvm = pytest.importorskip("tvm")

from tvm.sym import Analyzer  # noqa: E402

from tapml_fuzz.platforms.base import NotSupported  # noqa: E402
from tapml_fuzz.platforms.tvm.tir_expression import compiled, key  # noqa: E402

N = tvm.tirx.Var("n", "int64")
M = tvm.tirx.Var("m", "int64")


def folded(build: object, n: int, m: int) -> int:
    """The expression of constants, folded by TVM while it is built or by its simplifier."""
    node = build(tvm.tirx.const(n, "int64"), tvm.tirx.const(m, "int64"))  # type: ignore[operator]
    return int(Analyzer().simplify(node).value)


@pytest.mark.parametrize(
    "build",
    [
        lambda n, m: (n + m) * n - m,
        lambda n, m: tvm.tirx.floordiv(n, m),
        lambda n, m: tvm.tirx.floormod(n, m),
        lambda n, m: tvm.tirx.truncdiv(n, m),
        lambda n, m: tvm.tirx.truncmod(n, m),
        lambda n, m: tvm.tirx.min(n, m) + tvm.tirx.max(n, 2 * m),
        lambda n, m: tvm.tirx.Select(n < m, n, m),
        lambda n, m: tvm.tirx.if_then_else(tvm.tirx.all(n >= m, n != 0), n, m),
        lambda n, m: (n < m).astype("int64") + (n <= m).astype("int64") + (n == m).astype("int64"),
        lambda n, m: n.astype("int32").astype("int64") << tvm.tirx.const(2, "int64"),
    ],
)
@pytest.mark.parametrize(("n", "m"), [(7, 3), (-7, 3), (7, -3), (-7, -3), (0, 5), (4, 4)])
def test_agrees_with_tvm(build: object, n: int, m: int) -> None:
    assert int(compiled(build(N, M))({key(N): n, key(M): m})) == folded(build, n, m)  # type: ignore[operator]


def test_variables_of_one_name_are_told_apart() -> None:
    other = tvm.tirx.Var("n", "int64")
    assert compiled(N - other)({key(N): 5, key(other): 3}) == 2


def test_logarithm_of_a_size() -> None:
    levels = tvm.tirx.ceil(tvm.tirx.log2(N.astype("float64"))).astype("int64")
    assert [compiled(levels)({key(N): n}) for n in (1, 2, 3, 1024, 1025)] == [0, 1, 2, 10, 11]


def test_unknown_node_is_refused() -> None:
    with pytest.raises(NotSupported, match="expression of kind"):
        compiled(tvm.tirx.call_extern("int64", "mystery", N))
