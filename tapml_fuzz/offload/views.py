"""A difference as a user of the model sees it: embeddings that point elsewhere, other tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from tapml_fuzz.core.dtypes import Array
from tapml_fuzz.core.walk_summary import View


def view(task: str, given: Sequence[Sequence[Array]], wanted: Sequence[Sequence[Array]]) -> View:
    """Compare the first output of every batch; `[..., features]` each, logits where `task` is `"generation"`."""
    firsts = [(g[0], w[0]) for g, w in zip(given, wanted, strict=True) if g[0].shape == w[0].shape and w[0].size]
    pairs = [(_rows(g), _rows(w)) for g, w in firsts]
    cosine = min((float(_cosine(g, w).min()) for g, w in pairs), default=1.0)
    if task != "generation":
        return View(cosine)
    same = np.concatenate([g.argmax(-1) == w.argmax(-1) for g, w in pairs])
    divergence = max(float(_divergence(g, w).max()) for g, w in pairs)
    text = all(np.array_equal(*(_last(logits).argmax(-1) for logits in pair)) for pair in firsts)
    return View(cosine, float(same.mean()), divergence, text)


def _last(logits: Array) -> Array:
    """The last position's, which say what is generated next."""
    return logits[..., -1, :]


def _rows(array: Array) -> Array:
    return array.astype(np.float64).reshape(-1, array.shape[-1]) if array.ndim else np.zeros((0, 1))


def _cosine(one: Array, other: Array) -> Array:
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        found = (one * other).sum(-1) / lengths
    result: Array = np.nan_to_num(found, nan=-1.0)
    return result


def _divergence(given: Array, wanted: Array) -> Array:
    """KL(wanted || given), with infinity where the given logits are no distribution."""
    with np.errstate(all="ignore"):
        p, q = log_softmax(wanted, -1), log_softmax(given, -1)
        terms = np.where(np.isneginf(p), 0.0, np.exp(p) * (p - q))
    result: Array = np.nan_to_num(terms.sum(-1), nan=np.inf)
    return result
