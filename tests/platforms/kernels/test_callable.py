"""Callables as platforms: found by module or file, called as `check` calls them, told apart by what goes wrong."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tapml_fuzz.core.case import LAYOUTS
from tapml_fuzz.core.errors import BadKernel, UnknownPlatform
from tapml_fuzz.core.outcome import Ok, RunError, Timeout, Unsupported
from tapml_fuzz.platforms.kernels.spec import CallableSpec, callable_spec
from tapml_fuzz.platforms.session.in_process import InProcessSession
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tests.conformance import checks
from tests.platforms.kernel_sources import KERNELS
from tests.platforms.operators import LAYER_NORM, SOFTMAX, SUB, A, B, X, aten, case

MODULE = '''
"""Kernels of a user's."""
import time

import torch


def softmax(x, dim=0):
    e = torch.exp(x - x.amax(dim, keepdim=True))
    return e / e.sum(dim, keepdim=True)


class Fast:
    @staticmethod
    def sub(x, y):
        return x - y


def native_layer_norm(x, weight, bias, *, eps, normalized_shape):
    assert list(normalized_shape) == [x.shape[-1]]
    return torch.ops.aten.native_layer_norm(x, normalized_shape, weight, bias, eps)


def normalised(x, weight, bias, eps):
    return native_layer_norm(x, weight, bias, eps=eps, normalized_shape=x.shape[-1:])[0]


def nothing(x, y):
    return None


def raising(x, y):
    raise ValueError("not today")


def unwritten(x, y):
    out = torch.empty_like(x)
    out[:-1] = x[:-1] - y[:-1]
    return out


def in_place(x, y):
    return x.sub_(y)


def hanging(x, y):
    while x.shape[0] == 3:
        time.sleep(0.01)
    return x - y


number = 3
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mykernels_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


def on(rest: str) -> InProcessSession:
    return InProcessSession(f"user:mykernels_of_a_test:{rest}")


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("m:f", CallableSpec("m", None, "f", "cpu", ("f",))),
        ("a.b:C.f", CallableSpec("a.b", None, "C.f", "cpu", ("f",))),
        ("m:f@cuda", CallableSpec("m", None, "f", "cuda", ("f",))),
        ("m:f=aten._softmax.*", CallableSpec("m", None, "f", "cpu", ("aten._softmax.*",))),
        ("m:f@cuda=softmax-29a9c5a4", CallableSpec("m", None, "f", "cuda", ("softmax-29a9c5a4",))),
    ],
)
def test_spec_says_where_and_what_for(spec: str, meant: CallableSpec) -> None:
    assert callable_spec(spec) == meant


@pytest.mark.parametrize("spec", ["", "m", "m:", ":f", "m:f@gpu", "m:f=", "m:f@cuda=a b", "1m:f", "m:f()", "m f:g"])
def test_spec_that_says_nothing_is_refused(spec: str) -> None:
    with pytest.raises(UnknownPlatform, match="user:FILE with a header"):
        callable_spec(spec)


def test_function_named_for_its_operator_is_called_with_tensors_and_attributes_by_name() -> None:
    session = on("softmax")
    checks.says_what_it_is(session)
    checks.computes_softmax(session)  # over the last axis: its own default is the first
    checks.repeats_itself(session)
    assert isinstance(session.run(case(SUB, a=2, b=3)), Unsupported)


def test_layouts_reach_the_callable() -> None:
    session = on("Fast.sub")
    for layout in LAYOUTS:
        given = case(SUB, layout=layout, a=7, b=9)
        checks.agree(checks.outputs(session, given)[0], checks.expected(given)[0])


@pytest.mark.parametrize("rest", ["native_layer_norm", "normalised=native_layer_norm"])
def test_named_outputs_are_taken_from_all_or_returned_alone(rest: str) -> None:
    given = case(msgspec.structs.replace(LAYER_NORM, outputs=(0,)), a=6, b=10)
    (output,) = checks.outputs(on(rest), given)
    checks.agree(output, checks.expected(given)[0])


@pytest.mark.parametrize(("name", "said"), [("nothing", "it returned NoneType"), ("raising", "not today")])
def test_what_fails_is_a_run_error(name: str, said: str) -> None:
    outcome = on(f"{name}=sub").run(case(SUB, a=2, b=3))
    assert isinstance(outcome, RunError)
    assert said in outcome.message


def test_memory_that_is_never_written_shows() -> None:
    outcome = on("unwritten=sub").run(case(SUB, a=4, b=3))
    assert isinstance(outcome, Ok)
    assert np.isnan(outcome.outputs[0][-1]).all()
    assert not np.isnan(outcome.outputs[0][:-1]).any()


def test_input_written_in_place_is_told() -> None:
    outcome = on("in_place=sub").run(case(SUB, a=4, b=3))
    assert isinstance(outcome, Ok)
    assert (outcome.mutated, outcome.aliased) == ((0,), (0,))


def test_hang_is_killed() -> None:
    with WorkerSession("user:mykernels_of_a_test:hanging=sub", run_timeout=3) as session:
        assert isinstance(session.run(case(SUB, a=2, b=3)), Ok)
        assert isinstance(session.run(case(SUB, a=3, b=3)), Timeout)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("no_such_module_at_all:f", "ModuleNotFoundError"),
        ("mykernels_of_a_test:missing", "has no attribute 'missing'"),
        ("mykernels_of_a_test:number", "number is a int, not a callable"),
    ],
)
def test_what_is_not_there_is_unavailable_with_a_mend(spec: str, reason: str) -> None:
    info = InProcessSession(f"user:{spec}").info()
    assert not info.available
    assert reason in info.reason
    assert info.hint
    assert info.operators == (spec.rpartition(":")[2],)


def test_file_with_a_header_is_loaded_with_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "helper_of_a_test.py").write_text("def shifted(x, by):\n    return x + by\n")
    path = tmp_path / "adding.py"
    path.write_text(
        '# [tapml_fuzz]\n# operator = "add"\n# dtypes = ["float32"]\n# callable = "run"\n'
        "from helper_of_a_test import shifted\n\n\ndef run(x, other):\n    return shifted(x, other)\n"
    )
    session = InProcessSession("user:adding.py")
    given = case(aten("add.Tensor", [X, 2.5], [(A, B)]), a=2, b=3)
    checks.agree(checks.outputs(session, given)[0], given.tensors[0] + np.float32(2.5))
    whole = case(aten("add.Tensor", [X, 2.5], [(A, B)], "float64"), a=2, b=3)
    assert session.run(whole) == Unsupported("user:adding.py takes no float64 (input 0); it takes float32")
    path.write_text(path.read_text().replace("callable", "function"))
    with pytest.raises(BadKernel, match=r"adding\.py: .*callable|function"):
        InProcessSession("user:adding.py")


def test_script_imports_the_callable() -> None:
    given = case(SOFTMAX, a=2, b=3)
    reproducer = on("softmax").reproducer(given)
    assert reproducer is not None
    ast.parse(reproducer.source)
    assert "candidate.softmax(x0, dim=-1)" in reproducer.source
    names: dict[str, object] = {}
    import torch

    program = "\n".join(["import torch", *reproducer.imports, reproducer.source])
    exec(compile(program, "script", "exec"), names)  # noqa: S102 (the script under test)
    (shown,) = names["compute"](torch.from_numpy(given.tensors[0]))  # type: ignore[operator]
    checks.agree(shown.numpy(), checks.expected(given)[0])


def test_triton_example_needs_a_device_and_says_so() -> None:
    session = InProcessSession(f"user:{KERNELS / 'softmax_triton.py'}")
    info = session.info()
    if info.available:
        pytest.skip("there is a CUDA device: its own run shows more")
    assert "CUDA" in info.reason or "triton" in info.reason
    assert info.hint
    assert info.operators == ("aten._softmax.default",)
