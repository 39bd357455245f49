"""A platform's part of a reproducer: who writes one, and that it outlives a worker that dies over it."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest
import torch

from tapml_fuzz.core.dtypes import numpy_dtype
from tapml_fuzz.core.operator import DType, Float, Product
from tapml_fuzz.core.outcome import Crash, Ok
from tapml_fuzz.platforms.base import BuildSpec
from tapml_fuzz.platforms.python_source import array, attribute, bound_name, function, text_block
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.platforms.tvm.reproducers import cpu_reproducer
from tests.platforms.fakes import WHERE, Absent, Echo, ScriptFailing, Scripting
from tests.platforms.operators import MINILM, SUB, A, B, X, aten, case, clone

CASE = case(clone(), a=2, b=3)
NASTY = "a\"\"\"b'''c\\\r\n\x00\ud800\u2028\tend\\"


def isolated(kind: str) -> WorkerSession:
    return WorkerSession("fake", where=WHERE + kind)


def test_script_is_the_same_here_and_in_a_worker() -> None:
    here = InProcessSession(Scripting()).reproducer(CASE)
    assert here is not None
    assert "{'a': 2, 'b': 3} ['contiguous']" in here.source
    with isolated("Scripting") as session:
        assert session.reproducer(CASE) == here


def test_worker_that_dies_over_a_script_is_asked_to_be_careful() -> None:
    with isolated("ScriptCrashing") as session:
        reproducer = session.reproducer(CASE)
        assert reproducer is not None
        assert reproducer.source.startswith("# careful")
        assert session.restarts == 1
        assert isinstance(session.run(CASE), Ok)


def test_build_that_crashes_has_a_script_all_the_same() -> None:
    # `BuildCrashing` writes none, and answers so instead of dying once more.
    with isolated("BuildCrashing") as session:
        assert isinstance(session.run(CASE), Crash)
        assert session.reproducer(CASE) is None


@pytest.mark.parametrize("platform", [Echo, ScriptFailing, Absent])
def test_no_script_is_none(platform: type[Echo]) -> None:
    assert InProcessSession(platform()).reproducer(CASE) is None
    with isolated(platform.__name__) as session:
        assert session.reproducer(CASE) is None


def test_worker_that_always_dies_over_a_script_gives_none() -> None:
    with isolated("ScriptDoomed") as session:
        assert session.reproducer(CASE) is None
        assert isinstance(session.run(CASE), Ok)


@pytest.mark.parametrize(
    "text", ["x\ny", "", 'a """ b', "back\\slash\\", '"', NASTY, "tab\tand\nlines\n\n", "é\u2028z", "\r\n"]
)
def test_texts_are_spelled_so_that_python_reads_them_back(text: str) -> None:
    source = text_block(text)
    source.encode()
    assert ast.literal_eval(source).strip() == text.strip()


def test_raw_block_keeps_a_kernel_readable() -> None:
    assert text_block("int a;\nint b = '\\n';") == 'r"""\nint a;\nint b = \'\\n\';\n"""'


@pytest.mark.parametrize("name", ["from", "a b", "__import__('os')", NASTY, "über"])
def test_names_that_are_none_are_spelled_by_getattr(name: str) -> None:
    tree = ast.parse(attribute("torch", name), mode="eval").body
    assert isinstance(tree, ast.Call)
    assert ast.literal_eval(tree.args[1]) == name


def test_function_is_spelled_as_people_write_it() -> None:
    assert function("aten.addmm.default") == "torch.ops.aten.addmm.default"
    assert function("aten.random.from") == "getattr(torch.ops.aten.random, 'from')"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64", "bool", "uint8"])
def test_arrays_are_spelled_to_the_bit(dtype: str) -> None:
    values = np.array([[0, 1], [1, 0]], numpy_dtype(dtype))
    if dtype in ("float32", "bfloat16"):
        values[0, 0], values[1, 1] = np.inf, 0.1
    again = eval(array(values), {"np": np, "inf": np.inf, "nan": np.nan})  # noqa: S307 (our own text)
    assert again.tobytes() == values.tobytes()


def test_first_bound_name() -> None:
    bound = {"import numpy as np": "np", "import tvm": "tvm", "import a.b": "a", "from a import b": "b", "1 +": ""}
    assert {text: bound_name(text) for text in bound} == bound


def test_export_is_spelled_with_the_axes_of_the_build() -> None:
    split = MINILM["view-split"]
    source = cpu_reproducer(
        BuildSpec(split, ("float32",), {"a": 4, "b": 3}), {"a": 4, "b": 3, "c": 5}, ("contiguous",)
    ).source
    assert "torch.zeros((12, 11), dtype=torch.float32)" in source
    assert "dynamic_shapes=({1: size_c},)" in source
    assert "view.default(x0, [4, 3, size_c])" in source
    merge = MINILM["view-merge"]
    source = cpu_reproducer(BuildSpec(merge, ("bfloat16",), {"a": 4}), {"a": 4, "b": 2, "c": 3}, ("offset",)).source
    assert "dynamic_shapes=({1: size_b, 2: size_c},)" in source
    assert "[4 * size_b, size_c]" in source
    assert "x0.clone(memory_format=torch.contiguous_format)" in source
    derived = aten("clone.default", [X], [(Product(("a",), 3), Product(("a", "b")), A, B)])
    source = cpu_reproducer(BuildSpec(derived, ("float32",), {}), {"a": 2, "b": 3}, ("contiguous",)).source
    assert "dynamic_shapes=({0: 3 * size_a, 1: Dim.AUTO, 2: size_a, 3: size_b},)" in source


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own, from torch.export
def test_script_hands_tvm_tensors_of_no_elements_as_it_expects_them() -> None:
    """torch strides them otherwise, which the compiled function refuses: the reproducer would blame TVM."""
    tvm = pytest.importorskip("tvm")
    given = case(SUB, a=3, b=0)
    reproducer = cpu_reproducer(BuildSpec(SUB, ("float32", "float32"), {}), given.sizes, given.layouts)
    scope: dict[str, Any] = {"torch": torch, "np": np, "tvm": tvm}
    exec("\n".join((*reproducer.imports, reproducer.source)), scope)  # noqa: S102 (our own text)
    (result,) = scope["compute"](torch.empty(3, 0), torch.empty(3, 0))
    assert result.shape == (3, 0)


def test_names_from_a_file_stay_names_in_the_script() -> None:
    """Axes, attributes and overloads named to break out of the source only ever name themselves."""
    axis = Product((NASTY,))
    operator = aten(f"{NASTY}.from", [X, [axis], NASTY, Float("inf"), DType(NASTY)], [(axis, axis)], **{NASTY: axis})
    for sizes in ({}, {NASTY: 3}):
        reproducer = cpu_reproducer(BuildSpec(operator, (NASTY,), sizes), {NASTY: 3}, ("contiguous",))
        tree = ast.parse(reproducer.source.encode())
        assert [n.name for n in tree.body if isinstance(n, ast.FunctionDef)] == ["exported", "compute"]
        assert {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)} <= {
            "getattr", "perturb", "float", "list", "isinstance", "tuple", "Dim", "exported", "Operator",
            "from_exported_program",
        }  # fmt: skip
