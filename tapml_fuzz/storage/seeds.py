"""Seeds: recorded operator calls, small enough to keep, with where they came from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from tapml_fuzz.core.case import Case
from tapml_fuzz.core.dtypes import NAMES, Array
from tapml_fuzz.core.errors import BadCorpus
from tapml_fuzz.core.operator import (
    DType,
    Float,
    Operator,
    Product,
    Slot,
    Template,
    encode_operator,
    operator_from,
)
from tapml_fuzz.storage.tensors import MALFORMED, content_hash, pack, read_bounded, unpack, write_atomically

FORMAT = 1
# Bounds for files that nobody vouches for: 64 times the elements that `carve` gives a seed, and more nesting, outputs
# and text than an aten overload needs.
MAX_ELEMENTS = 1 << 20
_MAX_NESTING = 4
_MAX_OUTPUTS = 64
_MAX_TEXT = 32
_OPEN_END = 2**63 - 1  # as torch's exporter writes the end of a slice that has none

_ID = re.compile(r"[0-9a-f]{32}")
# aten.<operator>.<overload>; in-place operators end in an underscore and `out` overloads write into an argument.
_ATEN = re.compile(
    r"aten\.(?!from_file\b|_unsafe|_reshape_alias|_test|_assert|as_strided|set_|_cudnn|_mkldnn)[a-z0-9_]*[a-z0-9]\.(?!out$|.*_out$)[A-Za-z0-9_]+"
)
_WORD = re.compile(rf"[a-z_]{{0,{_MAX_TEXT}}}")


class Sentence(msgspec.Struct, frozen=True):
    """A text the model was given, and its number in the sentences file, counted from 1."""

    number: int
    text: str


class Provenance(msgspec.Struct, frozen=True):
    """The origin of a seed.

    Attributes:
        model, weights: name of the model and hash of its weights.
        sentences: the batch that ran (long texts are shortened).
        node, module: node of the exported graph, and path of the module it belongs to.
        device, dtype: where it ran, and the dtype of the model's weights.
        full_shapes: shapes of the tensors before the window was cut.
        versions: of what computed it.
    """

    model: str
    weights: str
    sentences: tuple[Sentence, ...]
    node: str
    module: str
    device: str
    dtype: str
    full_shapes: tuple[tuple[int, ...], ...]
    versions: dict[str, str]


@dataclass(frozen=True, eq=False)
class Seed:
    """A recorded call: real inputs (one array per slot of the operator) and what the reference made of them."""

    operator: Operator
    sizes: Mapping[str, int]
    tensors: tuple[Array, ...]
    outputs: tuple[Array, ...]
    provenance: Provenance

    @cached_property
    def id(self) -> str:
        """Content hash over operator, sizes, inputs and outputs; where they came from does not count."""
        salt = repr((self.operator.key, sorted(self.sizes.items()), len(self.tensors))).encode()
        return content_hash((*self.tensors, *self.outputs), salt)

    def case(self) -> Case:
        """The recorded call as a case, exactly as it was."""
        return Case(self.operator, dict(self.sizes), self.tensors, origin=f"seed:{self.id}")


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The note in a seed's file, beside its tensors."""

    format: int
    operator: msgspec.Raw
    sizes: dict[str, int]
    provenance: Provenance


def save(seed: Seed, path: Path) -> None:
    """Write a seed to `path`; equal seeds give equal files."""
    tensors = {f"input{i}": t for i, t in enumerate(seed.tensors)}
    tensors |= {f"output{i}": t for i, t in enumerate(seed.outputs)}
    note = _Note(FORMAT, msgspec.Raw(encode_operator(seed.operator)), dict(seed.sizes), seed.provenance)
    write_atomically(path, pack(tensors, msgspec.json.encode(note)))


def load(path: Path, expected_id: str = "") -> Seed:
    """Read a seed and check it against its operator and, when given, its id.

    Raises `BadCorpus` for a file that is missing, truncated, tampered with, or that declares what does not fit.
    """
    name = f"seed {path.name}"
    arrays, raw = unpack(read_bounded(path), name)
    try:
        note = msgspec.json.decode(raw, type=_Note)
        operator = revive_operator(msgspec.json.decode(note.operator), name)
    except MALFORMED as error:
        raise BadCorpus(f"{name}: its note is unreadable: {error}") from None
    if note.format != FORMAT:
        raise BadCorpus(f"{name}: format {note.format}, this version reads {FORMAT}", hint="carve it again")
    inputs = tuple(arrays.pop(f"input{i}") for i in range(len(operator.dtypes)) if f"input{i}" in arrays)
    outputs = tuple(arrays.pop(f"output{i}") for i in range(len(arrays)) if f"output{i}" in arrays)
    if arrays:
        raise BadCorpus(f"{name}: it holds unexpected tensors: {', '.join(sorted(arrays))}"[:300])
    seed = Seed(operator, note.sizes, inputs, outputs, note.provenance)
    _check_fit(seed, name)
    if expected_id and seed.id != expected_id:
        raise BadCorpus(f"{name}: its content is not what was recorded", hint="restore it from version control")
    return seed


def is_id(text: str) -> bool:
    """Tell whether a text has the form of a seed's id (and so cannot lead out of the corpus as part of a path)."""
    return _ID.fullmatch(text) is not None


def revive_operator(data: Any, name: str) -> Operator:
    """An operator from decoded JSON of an untrusted file; `name` is what an error calls the file.

    Only functional aten overloads on tensors, numbers and short words pass: nothing that names a Python
    callable, writes in place or opens a file. Raises `BadCorpus`.
    """
    try:
        operator = operator_from(data)
        templates = [*operator.args, *operator.kwargs.values()]
    except MALFORMED as error:
        raise BadCorpus(f"{name}: its operator is malformed: {error}") from None
    if not _ATEN.fullmatch(operator.name):
        raise BadCorpus(f"{name}: {operator.name[:80]!r} is no aten overload that a corpus may name")
    slots = len(operator.dtypes)
    products = [product for axes in operator.axes for product in axes] + [i.extent for i in operator.indexes]
    fits = (
        len(operator.axes) == slots
        and set(operator.dtypes) <= set(NAMES)
        and all(_is_plain(template, slots) for template in templates)
        and all(0 <= product.constant <= MAX_ELEMENTS for product in products)
        and all(0 <= index.slot < slots for index in operator.indexes)
        and all(0 <= output < _MAX_OUTPUTS for output in operator.outputs)
    )
    if not fits:
        raise BadCorpus(f"{name}: the arguments of {operator.name} do not fit its tensors")
    return operator


def _is_plain(template: Template, slots: int, nesting: int = 0) -> bool:
    match template:
        case Slot(index):
            return 0 <= index < slots
        case DType(text):
            return text in (*NAMES, "input")
        case Float(text):
            return text in ("inf", "-inf", "nan")
        case Product():
            return True
        case str():
            return _WORD.fullmatch(template) is not None
        case list():
            return nesting < _MAX_NESTING and all(_is_plain(item, slots, nesting + 1) for item in template)
        case int():
            # Dims, sizes and the open end of a slice; anything else that large only asks for memory.
            return abs(template) <= MAX_ELEMENTS or template == _OPEN_END
        case _:
            return template is None or isinstance(template, float)


def _check_fit(seed: Seed, name: str) -> None:
    """Raise `BadCorpus` unless tensors, sizes and operator say the same."""
    operator = seed.operator
    if set(seed.sizes) != set(operator.axis_names) or not all(0 <= n <= MAX_ELEMENTS for n in seed.sizes.values()):
        raise BadCorpus(f"{name}: its sizes do not fit the axes of {operator.name}")
    shapes = tuple(tensor.shape for tensor in seed.tensors)
    if shapes != operator.shapes(seed.sizes):
        raise BadCorpus(f"{name}: shapes {shapes} do not fit {operator.describe()[:200]}")
    if seed.case().dtypes != operator.dtypes:
        raise BadCorpus(f"{name}: dtypes {seed.case().dtypes} do not fit {operator.describe()[:200]}")
    if sum(math.prod(t.shape) for t in (*seed.tensors, *seed.outputs)) > MAX_ELEMENTS:
        raise BadCorpus(f"{name}: it holds more than {MAX_ELEMENTS} elements")
    for index in operator.indexes:
        ids, extent = seed.tensors[index.slot], index.extent.value(seed.sizes)
        lowest = -extent if index.negative else 0
        if ids.size and not (lowest <= int(ids.min()) and int(ids.max()) < extent):
            raise BadCorpus(f"{name}: indices of {operator.name} lie outside the {extent} rows they point to")
