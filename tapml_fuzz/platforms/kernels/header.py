"""The header of a user's kernel file: a block of TOML in a comment, read strictly.

    // [tapml_fuzz]
    // operator = "softmax"                      a glob: name, short name or key as `corpus list` shows them
    // dtypes = ["float32", ["float32", "int64"]]     alternatives: one for all inputs, or one per input
    // kernel = "softmax_rows"                   the entry point
    // arguments = ["x0", "out0", { name = "n", type = "i32", value = "size(x0, -1)" }]
    // [tapml_fuzz.launch]                       what it holds depends on the language
    // global = ["64 * numel(x0) // size(x0, -1)"]
    // [tapml_fuzz.defines]                      optional: constants of the build, which fix the axes they use
    // N = "size(x0, -1)"
    // T = "type(x0)"

A Python file names a `callable` and a `device` in place of all but operator and dtypes. The block ends at the first
line that is no comment.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import msgspec

from tapml_fuzz.core.dtypes import NAMES
from tapml_fuzz.core.errors import BadKernel
from tapml_fuzz.platforms.base import Unavailable
from tapml_fuzz.platforms.kernels.size_expression import TENSOR, BadExpression, Expression

_LARGEST_FILE = 1 << 20  # bytes
_TITLE = "[tapml_fuzz]"
_TYPE_OF = re.compile(r"type\(\s*(\w+)\s*\)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MOST_AXES = 3  # of a launch


@dataclass(frozen=True)
class Language:
    """The rules by which headers differ: the comment's sign, the keys of `launch`, the types of scalars."""

    name: str
    comment: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()


_C_SCALARS = ("i32", "u32", "i64", "u64", "f32", "f64")
LANGUAGES = {
    ".cl": Language("OpenCL C", "//", ("global",), ("local",), _C_SCALARS),
    ".wgsl": Language("WGSL", "//", ("workgroups",), (), ("i32", "u32", "f32")),
    ".cu": Language("CUDA C", "//", ("grid", "block"), (), _C_SCALARS),
    ".py": Language("Python", "#"),
}


@dataclass(frozen=True)
class Scalar:
    """A number that the kernel takes: its name, its type (`"i32"`), and the expression of its value."""

    name: str
    type: str
    value: Expression


@dataclass(frozen=True)
class TypeOf:
    """The element type of a tensor, as the language spells it."""

    tensor: str


@dataclass(frozen=True)
class Implements:
    """The part that headers of every kind have: the operators (globs) and the input dtypes it is written for.

    An alternative of dtypes is one name for every input, or one name per input; none at all stand for any.
    """

    operators: tuple[str, ...]
    dtypes: tuple[str | tuple[str, ...], ...]

    def takes(self, dtypes: tuple[str, ...]) -> bool:
        """Whether inputs of these dtypes are among the alternatives."""
        return not self.dtypes or any(
            set(dtypes) <= {given} if isinstance(given, str) else dtypes == given for given in self.dtypes
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Within, a platform that turns out to be unavailable tells all the same which operators it implements."""
        try:
            yield
        except Unavailable as error:
            error.operators = self.operators
            raise


@dataclass(frozen=True)
class KernelHeader(Implements):
    """A kernel: entry point, arguments in order (tensors by name, scalars), extents by key of `launch`."""

    kernel: str
    arguments: tuple[str | Scalar, ...]
    launch: Mapping[str, tuple[Expression, ...]]
    defines: Mapping[str, Expression | TypeOf]

    @property
    def buffers(self) -> tuple[str, ...]:
        """The tensors among the arguments (`"x0"`, `"out0"`), in their order."""
        return tuple(argument for argument in self.arguments if isinstance(argument, str))

    @property
    def scalars(self) -> tuple[Scalar, ...]:
        """The numbers among the arguments, in their order."""
        return tuple(argument for argument in self.arguments if isinstance(argument, Scalar))


@dataclass(frozen=True)
class CallableHeader(Implements):
    """A Python file: the function to call, and where its tensors lie (`"cpu"` or `"cuda"`)."""

    callable: str
    device: str


class _RawScalar(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    type: str
    value: str | int | float


class _RawKernel(msgspec.Struct, forbid_unknown_fields=True):
    operator: str | list[str]
    dtypes: list[str | list[str]]
    kernel: str
    arguments: list[str | _RawScalar]
    launch: dict[str, list[str | int]]
    defines: dict[str, str | int] = {}


class _RawCallable(msgspec.Struct, forbid_unknown_fields=True):
    operator: str | list[str]
    callable: str
    dtypes: list[str | list[str]] = []
    device: Literal["cpu", "cuda"] = "cpu"


def read(path: Path) -> str:
    """The file's text. Raises `BadKernel` for a file that cannot be read, is larger than 1 MiB or is not UTF-8."""
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise BadKernel(f"{path} has {size} bytes", hint=f"at most {_LARGEST_FILE} are read")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadKernel(f"{path} cannot be read: {error.strerror}", hint="give the path of a kernel file") from None
    except UnicodeDecodeError:
        raise BadKernel(f"{path} is no text in UTF-8", hint="give the source, not a binary") from None


def parse(path: Path, text: str) -> KernelHeader | CallableHeader:
    """The header in the leading comment of a file's `text`; raises `BadKernel` with one line."""
    language = LANGUAGES[path.suffix]
    try:
        table = _table(text, language)
        if language.required:
            return _kernel(msgspec.convert(table, _RawKernel), language)
        return _callable(msgspec.convert(table, _RawCallable))
    except (msgspec.ValidationError, BadExpression, _Fault) as error:
        # msgspec says where: "Expected `str`, got `int` - at `$.operator`".
        where = str(error).replace("`$.", "`").replace(" - at `$`", "")
        raise BadKernel(f"{path}: {where}", hint="docs/reference/kernel-headers.md shows a header") from None


class _Fault(ValueError):
    """A header that is not as it should be."""


def _table(text: str, language: Language) -> dict[str, Any]:
    """The TOML of the block that begins with the title, in the comment that the file begins with."""
    sign = language.comment
    lines = [line.strip() for line in text.splitlines()]
    leading = list(takewhile(lambda line: not line or line.startswith(sign), lines))
    said = [line.removeprefix(sign) for line in leading]
    start = next((number for number, line in enumerate(said) if line.strip() == _TITLE), None)
    if start is None:
        raise _Fault(f"the comment that it begins with has no line `{sign} {_TITLE}`")
    length = len(list(takewhile(bool, leading[start:])))
    try:
        # Empty lines in place of what stands before, so that TOML's messages count the file's lines.
        document = tomllib.loads("\n" * start + "\n".join(said[start : start + length]))
    except tomllib.TOMLDecodeError as error:
        raise _Fault(f"the header is no TOML: {error}") from None
    strange = [name for name in document if name != "tapml_fuzz"]
    if strange:
        raise _Fault(f"unknown table [{strange[0]}] in the header")
    table: dict[str, Any] = document["tapml_fuzz"]
    return table


def _implements(raw: _RawKernel | _RawCallable) -> dict[str, Any]:
    operators = (raw.operator,) if isinstance(raw.operator, str) else tuple(raw.operator)
    if not operators or not all(operators):
        raise _Fault("`operator` names nothing")
    dtypes = tuple(d if isinstance(d, str) else tuple(d) for d in raw.dtypes)
    for name in (n for d in dtypes for n in ((d,) if isinstance(d, str) else d)):
        if name not in NAMES:
            raise _Fault(f"unknown dtype {name!r} (known: {', '.join(NAMES)})")
    return {"operators": operators, "dtypes": dtypes}


def _callable(raw: _RawCallable) -> CallableHeader:
    return CallableHeader(**_implements(raw), callable=raw.callable, device=raw.device)


def _kernel(raw: _RawKernel, language: Language) -> KernelHeader:
    if not raw.dtypes:
        raise _Fault("`dtypes` names none")
    arguments = tuple(a if isinstance(a, str) else _scalar(a, language) for a in raw.arguments)
    names = [a if isinstance(a, str) else a.name for a in arguments]
    for name in names:
        if names.count(name) > 1:
            raise _Fault(f"argument {name} is there twice")
    for argument in arguments:
        if isinstance(argument, str) and not TENSOR.fullmatch(argument):
            raise _Fault(f"argument {argument!r} is no tensor: x0, x1, ... are the inputs, out0, ... the outputs")
    if "out0" not in names:
        raise _Fault("`arguments` has no output out0")
    unknown = [key for key in raw.launch if key not in (*language.required, *language.optional)]
    missing = [key for key in language.required if key not in raw.launch]
    if unknown or missing:
        said = f"unknown key `{unknown[0]}`" if unknown else f"no key `{missing[0]}`"
        raise _Fault(f"{said} in `launch`; {language.name} has {', '.join((*language.required, *language.optional))}")
    launch = {key: _extents(key, values) for key, values in raw.launch.items()}
    if language.optional and len({len(values) for values in launch.values()}) > 1:
        raise _Fault(f"`launch`: {' and '.join(launch)} differ in their number of axes")
    for name in (raw.kernel, *raw.defines):
        if not _IDENTIFIER.fullmatch(name):
            raise _Fault(f"{name[:80]!r} is no identifier")
    defines = {name: _define(value) for name, value in raw.defines.items()}
    return KernelHeader(**_implements(raw), kernel=raw.kernel, arguments=arguments, launch=launch, defines=defines)


def _scalar(raw: _RawScalar, language: Language) -> Scalar:
    if not _IDENTIFIER.fullmatch(raw.name) or TENSOR.fullmatch(raw.name):
        raise _Fault(f"{raw.name[:80]!r} is no name for a scalar")
    if raw.type not in language.scalars:
        raise _Fault(f"scalar {raw.name}: {language.name} takes {', '.join(language.scalars)}, not {raw.type[:80]!r}")
    return Scalar(raw.name, raw.type, Expression(raw.value))


def _extents(key: str, values: list[str | int]) -> tuple[Expression, ...]:
    if not 1 <= len(values) <= _MOST_AXES:
        raise _Fault(f"`launch.{key}` has {len(values)} entries; 1 to {_MOST_AXES} are allowed")
    return tuple(map(Expression, values))


def _define(value: str | int) -> Expression | TypeOf:
    found = _TYPE_OF.fullmatch(str(value).strip())
    if found is None:
        return Expression(value)
    if not TENSOR.fullmatch(found.group(1)):
        raise _Fault(f"{value!r}: {found.group(1)} is no tensor")
    return TypeOf(found.group(1))
