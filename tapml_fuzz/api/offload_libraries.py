"""`offload libraries`: move a compiled Relax module from one library to another, fused function by fused function."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.numpy

from tapml_fuzz.core import dtypes
from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.errors import BadInputs, BadOption
from tapml_fuzz.core.version import __version__
from tapml_fuzz.offload.fused.functions import Fused, FusedFunction, functions_of
from tapml_fuzz.offload.fused.messages import OwnRun
from tapml_fuzz.offload.fused.process import Pair, ProcessEnded
from tapml_fuzz.offload.fused.report import LibrariesReport
from tapml_fuzz.offload.hybrid import CannotRun
from tapml_fuzz.offload.ledger import FORMAT, Ledger, Walk
from tapml_fuzz.offload.units import ordered
from tapml_fuzz.offload.walk import Settled, Started, Walker
from tapml_fuzz.storage.tensors import content_hash, read_bounded

_MAX_INPUTS = 4 << 30  # bytes


@dataclass(frozen=True)
class LibraryOptions:
    """Options of a walk between libraries.

    Attributes:
        main: the function of both libraries that runs.
        order: `"common"`, `"graph"`, or globs with commas between.
        resume: go on with the walk in `output`.
        limit: seconds that one call may take before it is taken to hang.
    """

    main: str = "main"
    order: str = "common"
    resume: bool = False
    limit: float = 120.0


@dataclass(frozen=True)
class Surveying:
    """Something that is done before the first function moves; `text` says it to people."""

    text: str


LibraryEvent = Surveying | Started | Settled


def offload_libraries(
    a: Path,
    b: Path,
    inputs: Mapping[str, Array],
    options: LibraryOptions,
    output: Path,
    listener: Callable[[LibraryEvent], None] = lambda event: None,
) -> LibrariesReport:
    """Walk from library `a` to library `b`; the walk's ledger goes to `output`.

    Both are shared libraries that Relax has exported (`export_library`). Their code runs with the rights of whoever
    calls this, in a process of its own: name only libraries that you would run. `inputs` are those of `options.main`
    by the names of its parameters. Raises `BadLibrary`, `BadInputs` and `BadOption`.
    """
    began = time.monotonic()
    reference, target = _named(a, b)
    ledger = Ledger(output)
    with Pair(a, b, options.main, inputs, limit=options.limit) as pair:
        walk = Walk(FORMAT, reference, _digest(a, b, inputs, options.main), reference, target, _versions(pair))
        ledger.begin(walk, resume=options.resume)
        listener(Surveying(f"running {reference}, and every call of it in {target} alone"))
        # What has ended the process once is not called again.
        dead = [r.key for r in ledger.results.values() if r.where in ("crash", "hang")]
        functions = functions_of(pair.survey(dead))
        model = Fused(pair, target)
        walker: Walker[FusedFunction] = Walker(model, target, ledger, model.alone, listener)
        walker.walk(ordered(functions, options.order))
        listener(Surveying(f"running {reference} with every moved function, and {target} as it is"))
        try:
            final, failure = walker.final(), ""
        except CannotRun as error:
            final, failure = None, str(error)
        own, own_failure = _own(pair)
    called = [f.key for f in functions]
    return LibrariesReport(
        walk=walk,
        functions=tuple(functions),
        units=tuple(walker.results),
        only_in_a=tuple(n for n in called if own is not None and own.functions and n not in own.functions),
        only_in_b=tuple(n for n in (own.functions if own is not None else ()) if n not in called),
        devices=pair.ready.devices,
        final=final,
        failure=failure,
        own=own,
        own_failure=own_failure,
        seconds=time.monotonic() - began,
    )


def read_inputs(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file, by name.

    Raises `BadCorpus` when there is no such file, `BadInputs` for one that cannot be used.
    """
    try:
        arrays: dict[str, Array] = safetensors.numpy.load(read_bounded(path, _MAX_INPUTS))
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadInputs(f"{path}: {' '.join(str(error).split())[:300]}", hint="give a safetensors file") from None
    for name, array in arrays.items():
        if dtypes.name_of(array) not in dtypes.NAMES:
            raise BadInputs(f"{path}: {name!r} is {dtypes.name_of(array)}", hint=f"known are {', '.join(dtypes.NAMES)}")
    return arrays


def text_inputs(model: str, texts: Sequence[str]) -> dict[str, Array]:
    """Token ids, masks and types of `texts` as one padded batch, by MODEL's tokenizer. Raises `BadModel`."""
    from tapml_fuzz.carving import models

    return {name: tensor.numpy() for name, tensor in models.load(model).tokenize(texts).items()}


def _own(pair: Pair) -> tuple[OwnRun | None, str]:
    try:
        return pair.own(), ""
    except ProcessEnded as ended:
        during = f"{ended.during.name}: " if ended.during is not None else ""
        return None, f"{during}{ended}"


def _named(a: Path, b: Path) -> tuple[str, str]:
    """The names of the libraries: their file names, with folders where those are the same."""
    if a.resolve() == b.resolve():
        raise BadOption("both libraries are the same file", hint="name two")
    if a.name != b.name:
        return a.name, b.name
    one, other = a.resolve().parts, b.resolve().parts
    depth = next(n for n in range(1, max(len(one), len(other)) + 1) if one[-n:] != other[-n:])
    return "/".join(one[-depth:]), "/".join(other[-depth:])


def _digest(a: Path, b: Path, inputs: Mapping[str, Array], main: str) -> str:
    """Hash over both libraries, the inputs and the function."""
    digest = hashlib.blake2b(main.encode(), digest_size=8)
    for path in (a, b):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    for name in sorted(inputs):
        digest.update(name.encode() + content_hash([inputs[name]]).encode())
    return digest.hexdigest()


def _versions(pair: Pair) -> dict[str, str]:
    return {"tapml_fuzz": __version__, **pair.ready.versions}
