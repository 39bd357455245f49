"""Standalone reproducers, run as a developer runs them: they print what our own session computed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import Array, name_of
from tapml_fuzz.core.operator import Operator
from tapml_fuzz.core.outcome import BuildError, Ok
from tapml_fuzz.judge import judge
from tapml_fuzz.oracle import Truth, truth
from tapml_fuzz.platforms.base import Reproducer
from tapml_fuzz.platforms.registry import known, load, location, on_request
from tapml_fuzz.platforms.session.isolated import WorkerSession
from tapml_fuzz.reporting.reproducers import reproducers
from tapml_fuzz.reporting.standalone import standalone_reproducer
from tapml_fuzz.storage.findings import Evidence, FindingRecord
from tests.platforms.operators import LAYER_NORM, MINILM, SOFTMAX, add, case, clone

# Runs every script given and says what each printed; fails with the first that does.
_RUN_ALL = """
import contextlib, io, json, runpy, sys
printed = {}
for name in sys.argv[1:]:
    ended = 0
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            runpy.run_path(name)
        except SystemExit as end:
            ended = end.code
    printed[name] = [ended, out.getvalue()]
assert not any(m.split(".")[0] == "tapml_fuzz" for m in sys.modules), "a script imports the fuzzer"
print(json.dumps(printed))
"""

_CASES = {
    "softmax": case(SOFTMAX, a=3, b=5),
    "softmax-one": case(SOFTMAX, a=2, b=1),
    "softmax-none": case(SOFTMAX, a=0, b=4),
    "softmax-strided": case(SOFTMAX, layout="strided", a=2, b=3),
    "softmax-offset": case(SOFTMAX, layout="offset", a=2, b=3),
    "addmm": case(MINILM["addmm"], m=3, k=4, n=2),
    "embedding": case(MINILM["embedding"], a=2, b=3, c=5, k=4),
    "where": case(MINILM["where"], a=2, b=3),
    "to-bool": case(MINILM["to-bool"], a=2, b=3),
    "layer_norm": case(LAYER_NORM, a=2, b=8),
    "layer_norm-first": case(msgspec.structs.replace(LAYER_NORM, outputs=(0,)), a=2, b=8),
    "view-merge": case(MINILM["view-merge"], a=2, b=3, c=4),
    "add-f16": case(add("float16"), a=2, b=3),
    "add-bf16": case(add("bfloat16"), a=2, b=3),
    "arange": case(MINILM["arange"], a=3),
    "full-inf": case(MINILM["full-inf"], a=1, b=2),
    "clamp": case(MINILM["clamp"], a=2, b=3),
}
# What a platform refuses, as of this writing: its script shows the error. One that is mended leaves by itself, since
# the outcome of our own session decides which of the two is expected.
_MUST_BUILD = {"softmax", "softmax-one", "addmm", "embedding", "layer_norm"}
# What the driver says of the WGSL that TVM 0.27 generates: `array<i8>`, and `inff` for infinity.
_INVALID_WGSL = {"where": "i8", "to-bool": "i8", "clamp": "inff"}


def record(
    platform: str, operator: Operator, kind: Any = "wrong", described: str = "", **changes: Any
) -> FindingRecord:
    made = FindingRecord(
        id="an-id", platform=platform, operator=described or operator.describe(), operator_key=operator.key, kind=kind,
        realism="near", ratio=None, message="output 0, element 0", shapes=(), dtypes=(), elements=1,
        found_elements=1, metrics={}, versions={"torch": "2"},
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def printed(label: str, array: Array) -> str:
    """What a script prints of an array."""
    shown = array.astype(np.float32) if name_of(array) == "bfloat16" else array
    return f"{label}: {name_of(array)}{list(array.shape)}\n{np.array2string(shown, floatmode='unique')}\n"


def run_all(scripts: list[str], folder: Path) -> dict[str, tuple[int, str]]:
    """How each script ended and what it printed, in one process of their own."""
    done = subprocess.run([sys.executable, "-c", _RUN_ALL, *scripts], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    ended: dict[str, tuple[int, str]] = json.loads(done.stdout.splitlines()[-1])
    return ended


@pytest.fixture(scope="module", params=known())
def session(request: pytest.FixtureRequest) -> Iterator[WorkerSession]:
    if not hasattr(load(location(request.param)), "reproducer"):
        pytest.skip(f"{request.param} writes no reproducers")
    with WorkerSession(request.param, run_timeout=60) as isolated:
        info = isolated.info()
        if not info.available:
            pytest.skip(f"{request.param}: {info.reason}")
        yield isolated


def test_scripts_print_what_the_session_computed(session: WorkerSession, tmp_path: Path) -> None:
    # Platforms that run on request only compile slowly: what every one of them must build is enough of a sample.
    tried = _MUST_BUILD if session.name in on_request() else _CASES
    outcomes = {name: session.run(given) for name, given in _CASES.items() if name in tried}
    kept = {name: o for name, o in outcomes.items() if isinstance(o, Ok | BuildError)}
    assert {name for name, o in kept.items() if isinstance(o, Ok)} >= _MUST_BUILD
    truths: dict[str, Truth] = {}
    for name, outcome in kept.items():
        given = _CASES[name]
        reproducer = session.reproducer(given)
        assert reproducer is not None, name
        made = record(session.name, given.operator, "wrong" if isinstance(outcome, Ok) else "build-error")
        expected = truths[name] = truth(given.operator, given.tensors, given.sizes)
        text = standalone_reproducer(made, Evidence(given, expected.values, (), expected.bounds), reproducer)
        assert "tapml_fuzz" not in text.split('"""', 2)[2]
        (tmp_path / f"{name}.py").write_text(text)
    empty = tmp_path / "empty"
    empty.mkdir()
    scripts = [str(tmp_path / f"{name}.py") for name in kept]
    ended = run_all(scripts, empty)
    said = {path: text for path, (_, text) in ended.items()}
    for (name, outcome), path in zip(kept.items(), scripts, strict=True):
        assert "expected 0: " in said[path]
        right = isinstance(outcome, Ok) and not judge(_CASES[name], outcome, truths[name]).failed
        assert (ended[path][0], said[path].splitlines()[-1]) == (
            (0, "the fault is gone") if right else (1, "the fault is still there")
        ), name
        if isinstance(outcome, BuildError):
            assert "\nactual: " in said[path], name
            assert "actual 0" not in said[path], name
            if session.name == "tvm-webgpu" and name in _INVALID_WGSL:
                # The driver's own words, with the line that it means.
                assert _INVALID_WGSL[name] in said[path].partition("\nactual: ")[2]
                assert "wgsl:" in said[path]
            continue
        for number, output in enumerate(outcome.outputs):
            assert printed(f"actual {number}", output) in said[path], name
        assert f"actual {len(outcome.outputs)}: " not in said[path]
    assert list(empty.iterdir()) == []


def test_platform_without_a_script_has_its_pytest_file() -> None:
    given = case(clone(), a=1, b=2)
    evidence = Evidence(given, (given.tensors[0].astype(np.float64),), given.tensors)
    assert list(reproducers(record("echo", given.operator), evidence, None)) == ["test_an_id.py"]
    both = reproducers(record("echo", given.operator), evidence, Reproducer((), "def compute(x0):\n    return [x0]\n"))
    assert list(both) == ["reproduce.py", "test_an_id.py"]


_ECHO = Reproducer(("import math",), "def compute(x0):\n    return [x0]\n")
_COPIES = Reproducer((), "def compute(x0):\n    return [x0.clone()]\n")


def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "reproduce.py").write_bytes(text.encode())
    return subprocess.run([sys.executable, "reproduce.py"], capture_output=True, text=True, cwd=folder)


def test_expected_is_the_operator_in_float64(tmp_path: Path) -> None:
    given = Case(clone("float16"), {"a": 1, "b": 1}, (np.full((1, 1), 0.1, np.float16),))
    done = run(standalone_reproducer(record("echo", given.operator), Evidence(given, (), ()), _ECHO), tmp_path)
    assert "expected 0: float64[1, 1]\n[[0.0999755859375]]\n" in done.stdout
    assert "actual 0: float16[1, 1]\n[[0.1]]\n" in done.stdout
    assert f"\nnumpy {np.__version__}\n" in done.stdout


def test_expected_that_torch_cannot_repeat_is_spelled_out(tmp_path: Path) -> None:
    operator = msgspec.structs.replace(clone(), name="python:somewhere:clone")
    given = Case(operator, {"a": 1, "b": 1}, (np.ones((1, 1), np.float32),))
    evidence = Evidence(given, (np.array([[1.0 + 2**-40]]),), ())
    done = run(standalone_reproducer(record("echo", operator), evidence, _ECHO), tmp_path)
    assert f"[[{1.0 + 2**-40!r}]]" in done.stdout, done.stderr


def test_error_of_a_run_is_shown_as_what_happened(tmp_path: Path) -> None:
    given = case(clone(), a=1, b=2)
    reproducer = Reproducer((), 'def compute(x0):\n    x0[0, 0] = 7\n    raise ValueError("the driver says no")\n')
    evidence = Evidence(given, (), ())
    done = run(standalone_reproducer(record("echo", given.operator, "run-error"), evidence, reproducer), tmp_path)
    assert done.returncode == 1, done.stderr
    assert "actual: ValueError: the driver says no\n" in done.stdout
    assert done.stdout.endswith("the fault is still there\n")
    assert "input 0 was changed to: float32[1, 2]\n[[ 7." in done.stdout
    # A wrong value found, but an error now: that is news, and ends the script as errors do.
    done = run(standalone_reproducer(record("echo", given.operator, "wrong"), evidence, reproducer), tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: the driver says no\n")
    done = run(standalone_reproducer(record("echo", given.operator, "run-error"), evidence, _COPIES), tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the fault is gone")
    done = run(standalone_reproducer(record("echo", given.operator, "run-error"), evidence, _ECHO), tmp_path)
    assert done.returncode == 1  # its output is its input
    assert "an output shares memory with an input\n" in done.stdout


def test_nondeterministic_case_is_run_twice(tmp_path: Path) -> None:
    given = case(clone(), a=1, b=1)
    reproducer = Reproducer(
        (), "count = [0]\n\n\ndef compute(x0):\n    count[0] += 1\n    return [x0 * 0 + count[0]]\n"
    )
    text = standalone_reproducer(
        record("echo", given.operator, "nondeterministic"), Evidence(given, (), ()), reproducer
    )
    done = run(text, tmp_path)
    assert "again 0: float32[1, 1]\n[[2.]]\nactual 0: float32[1, 1]\n[[1.]]" in done.stdout


@pytest.mark.parametrize(("kind", "word"), [("crash", "crashes"), ("timeout", "does not end"), ("unwritten", "never")])
def test_script_says_beforehand_how_it_ends(kind: str, word: str) -> None:
    given = case(clone(), a=1, b=1)
    text = standalone_reproducer(record("echo", given.operator, kind), Evidence(given, (), ()), _ECHO)
    assert word in (ast.get_docstring(ast.parse(text)) or "")


@pytest.mark.parametrize("nasty", ['"""\nimport os\n"""', "back\\", '"', "\x00\ud800\r\x0c", "{braces}%s", "'''"])
def test_untrusted_texts_leave_the_script_valid_and_harmless(nasty: str) -> None:
    given = case(clone(), a=1, b=2)
    made = record(nasty, given.operator, described=nasty, message=nasty, realism=nasty, versions={nasty: nasty})
    evidence = Evidence(given, (), ())
    for text in reproducers(made, evidence, _ECHO).values():
        tree = ast.parse(text.encode())
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert imported <= {"numpy", "torch", "math", "sys", "tapml_fuzz"}


def test_script_of_untrusted_texts_runs(tmp_path: Path) -> None:
    given, nasty = case(clone(), a=1, b=2), '"""\x00\ud800\r\\'
    made = record(nasty, given.operator, described=nasty, message=nasty, realism=nasty, versions={nasty: nasty})
    done = run(standalone_reproducer(made, Evidence(given, (), ()), _ECHO), tmp_path)
    assert done.returncode == 0, done.stderr


def test_operator_named_to_break_out_only_names_itself() -> None:
    nasty = "x(); import os #"
    operator = Operator(f"aten.{nasty}.{nasty}", (nasty,), {nasty: [nasty]}, (), ())
    given = Case(operator, {}, ())
    text = standalone_reproducer(
        record("echo", operator), Evidence(given, (), ()), Reproducer((), "def compute():\n    pass")
    )
    imported = {a.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import) for a in n.names}
    assert imported == {"numpy", "sys", "torch"}
