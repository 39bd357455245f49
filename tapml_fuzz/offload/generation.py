"""Recordings of a model that generates text: a prefill of every prompt and the steps after it."""

from __future__ import annotations

from collections.abc import Sequence

from tapml_fuzz.carving import decoder
from tapml_fuzz.carving.sentences import Batch
from tapml_fuzz.offload.recording import Recording, record


def generations(graphs: decoder.Graphs, batches: Sequence[Batch], steps: int) -> list[Recording]:
    """Recordings of all runs that generate `steps` tokens after each batch's first one, in order.

    The reference run's state and its most likely tokens are what the next step is recorded with.
    """
    return [recording for batch in batches for recording in _generation(graphs, batch, steps)]


def _generation(graphs: decoder.Graphs, batch: Batch, steps: int) -> list[Recording]:
    inputs = graphs.tokenize(batch.texts, room=steps)
    recordings = [record(graphs.prefill, graphs.prefill_operators, inputs, f"{batch.label}, prefill", graph="prefill")]
    for number in range(1, steps + 1):
        outputs = [recordings[-1].tensor(name).to(inputs["input_ids"].device) for name in recordings[-1].outputs]
        inputs = graphs.decoder.step(inputs, outputs)
        state = decoder.state_of(inputs)
        label = f"{batch.label}, decode {number}"
        recordings.append(record(graphs.step, graphs.step_operators, inputs, label, state, graph="decode"))
    return recordings
