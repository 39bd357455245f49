"""Headers of kernel files: what a sound one says, and that each fault is one line with the file in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tapml_fuzz.core.errors import BadKernel
from tapml_fuzz.platforms.kernels.header import CallableHeader, KernelHeader, TypeOf, parse, read

SOUND = """\
// A licence.

// [tapml_fuzz]
// operator = ["softmax", "aten._softmax.*"]
// dtypes = ["float32", ["float16", "int64"]]
// kernel = "entry"
// arguments = ["x0", "x1", "out0", { name = "n", type = "i32", value = "a * b" }]
//
// [tapml_fuzz.launch]
// global = ["a", 1]
// local = [64, 1]
// [tapml_fuzz.defines]
// N = 4
// T = "type(x0)"

// no part = of it
__kernel void entry() {}
"""
CALLABLE = '# [tapml_fuzz]\n# operator = "softmax"\n# callable = "softmax"\nimport torch\n'


def header(text: str, suffix: str = ".cl") -> KernelHeader | CallableHeader:
    return parse(Path(f"mine{suffix}"), text)


def test_sound_header_is_read_whole() -> None:
    found = header(SOUND)
    assert isinstance(found, KernelHeader)
    assert found.operators == ("softmax", "aten._softmax.*")
    assert found.kernel == "entry"
    assert found.buffers == ("x0", "x1", "out0")
    assert [(s.name, s.type, s.value.text) for s in found.scalars] == [("n", "i32", "a * b")]
    assert {key: [e.text for e in values] for key, values in found.launch.items()} == {
        "global": ["a", "1"],
        "local": ["64", "1"],
    }
    assert found.defines["T"] == TypeOf("x0")


def test_dtypes_are_alternatives() -> None:
    found = header(SOUND)
    assert found.takes(("float32", "float32"))
    assert found.takes(("float16", "int64"))
    assert not found.takes(("float16", "float16"))
    assert not found.takes(("float32", "int64"))


def test_windows_line_ends_make_no_difference() -> None:
    assert repr(header(SOUND.replace("\n", "\r\n"))) == repr(header(SOUND))


def test_callable_header_is_on_the_cpu_and_takes_any_dtype_unless_it_says_otherwise() -> None:
    found = header(CALLABLE, ".py")
    assert isinstance(found, CallableHeader)
    assert (found.callable, found.device, found.dtypes) == ("softmax", "cpu", ())
    assert found.takes(("int8",))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("// [tapml_fuzz]\n", "// [tapml]\n", "no line `// \\[tapml_fuzz\\]`"),
        ("// A licence.\n", "int before;\n", "no line `// \\[tapml_fuzz\\]`"),
        ('"entry"\n', "entry\n", "no TOML: .* line 6"),
        ("[tapml_fuzz.launch]", "[launch]", "unknown table \\[launch\\]"),
        ('kernel = "entry"', 'kernels = "entry"', "unknown field `kernels`|missing required field `kernel`"),
        ('// kernel = "entry"\n', "", "missing required field `kernel`"),
        ('kernel = "entry"', 'kernel = "entry"\n// kernle = "x"', "unknown field `kernle`"),
        ('value = "a * b"', 'value = "a * b", unit = 3', "unknown field `unit` - at `arguments"),
        ('kernel = "entry"', "kernel = 3", "Expected `str`, got `int` - at `kernel`"),
        ('kernel = "entry"', 'kernel = "entry(); evil"', "no identifier"),
        ("N = 4", '"N 4" = 4', "no identifier"),
        ("N = 4", "N = 4.5", "Expected .*got `float` - at `defines"),
        ("N = 4", 'N = "a b"', "no expression"),
        ("type(x0)", "type(y)", "y is no tensor"),
        ('["softmax", "aten._softmax.*"]', "[]", "`operator` names nothing"),
        ('["float32", ["float16", "int64"]]', "[]", "`dtypes` names none"),
        ('["float32", [', '["float33", [', "unknown dtype 'float33'"),
        ('["x0", "x1",', '["x0", "x0",', "argument x0 is there twice"),
        ('["x0", "x1",', '["x0", "y",', "argument 'y' is no tensor"),
        ('"out0", {', "{", "no output out0"),
        ('type = "i32"', 'type = "int"', "scalar n: OpenCL C takes i32"),
        ('name = "n"', 'name = "x1"', "'x1' is no name for a scalar"),
        ('type = "i32", ', "", "missing required field `type`"),
        ('value = "a * b"', 'value = "a ** b"', "is not allowed"),
        ('global = ["a", 1]', 'grid = ["a", 1]', "unknown key `grid` in `launch`; OpenCL C has global, local"),
        ('// global = ["a", 1]\n', "", "no key `global`"),
        ('global = ["a", 1]', "global = []", "has 0 entries"),
        ('global = ["a", 1]', 'global = ["a"]', "differ in their number of axes"),
    ],
)
def test_every_fault_is_one_line_with_file_and_mend(old: str, new: str, said: str) -> None:
    assert old in SOUND
    with pytest.raises(BadKernel, match=said) as fault:
        header(SOUND.replace(old, new, 1))
    text = str(fault.value)
    assert text.startswith("mine.cl: ")
    assert text.endswith(")")
    assert "\n" not in text


def test_callable_header_has_no_kernel() -> None:
    with pytest.raises(BadKernel, match="kernel"):
        header(CALLABLE.replace("# callable", '# kernel = "x"\n# callable'), ".py")
    with pytest.raises(BadKernel, match="Invalid enum value 'gpu'"):
        header(CALLABLE.replace("# callable", '# device = "gpu"\n# callable'), ".py")


def test_files_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    for name, content in (("binary.cl", b"\xff\xfe\x00"), ("big.cl", b" " * (1 << 20) + b" "), ("folder.cl", None)):
        path = tmp_path / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        with pytest.raises(BadKernel, match=name):
            read(path)
