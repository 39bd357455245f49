"""From a model and sentences to a corpus, in two passes (`carving.passes`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tapml_fuzz.carving import models, sentences
from tapml_fuzz.carving.passes import Passes
from tapml_fuzz.core.errors import BadOption
from tapml_fuzz.storage import corpus as corpus_files
from tapml_fuzz.storage.corpus import ModelRecord


@dataclass(frozen=True)
class CarveProgress:
    """`done` of `total` steps of a phase (`load`, `look`, `keep`, `write`)."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Summary:
    """The account of a carving.

    Attributes:
        model: its label in the corpus.
        elements: of input, over all seeds.
        skipped: a line for each kind of call that became no seed, with the reason.
    """

    model: str
    output: Path
    sentences: int
    batches: int
    calls: int
    operators: int
    seeds: int
    elements: int
    seconds: float
    skipped: tuple[str, ...]


def carve(
    model: str,
    texts: Sequence[str],
    output: Path,
    device: str = "cpu",
    *,
    progress: Callable[[CarveProgress], None] = lambda event: None,
) -> Summary:
    """Run `model` on `texts`, and merge the seeds and profiles of its operators into the corpus at `output`.

    The same model, texts and versions give the same corpus: torch runs on one thread meanwhile, since the number of
    threads decides the order of additions and so the last bits.

    Raises `BadModel`, `BadOption` (an `output` that cannot be written) or `BadCorpus` (one that is a broken corpus).
    """
    started = time.monotonic()
    _check_output(output)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _carve(model, texts, output, device, progress, started)
    finally:
        torch.set_num_threads(threads)


def _carve(
    model: str,
    texts: Sequence[str],
    output: Path,
    device: str,
    progress: Callable[[CarveProgress], None],
    started: float,
) -> Summary:
    progress(CarveProgress("load", 0, 1))
    loaded = models.load(model, device)
    passes = Passes(loaded, sentences.batches(texts), device)
    progress(CarveProgress("load", 1, 1))
    for number in range(len(passes.batches)):
        passes.look(number)
        progress(CarveProgress("look", number + 1, len(passes.batches)))
    wanted = passes.select()
    for done, number in enumerate(sorted(wanted)):
        passes.keep(number, wanted[number])
        progress(CarveProgress("keep", done + 1, len(wanted)))
    kept = passes.result()
    record = ModelRecord(loaded.name, loaded.weights, device, loaded.dtype, len(texts), dict(loaded.versions))
    found = [(s.operator, tuple(b.finish() for b in s.builders), seeds) for s, seeds in kept]
    corpus_files.write(output, record, found)
    progress(CarveProgress("write", 1, 1))
    return Summary(
        model=record.label,
        output=output,
        sentences=len(texts),
        batches=len(passes.batches),
        calls=passes.calls,
        operators=len(kept),
        seeds=sum(len(seeds) for _, seeds in kept),
        elements=sum(seed.case().elements for _, seeds in kept for seed in seeds),
        seconds=time.monotonic() - started,
        skipped=tuple(sorted(passes.skipped)),
    )


def _check_output(output: Path) -> None:
    """Find out before the work what would spoil it after."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(f"{output} cannot hold a corpus: {error.strerror}", hint="give another --output") from None
    if (output / "manifest.json").exists():
        corpus_files.Corpus.open(output)
