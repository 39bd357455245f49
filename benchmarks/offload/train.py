"""Small real decoders of many architectures, trained here on the shipped sentences; nothing is downloaded.

    python benchmarks/offload/train.py --output DIR [--only llama,gpt2] [--steps 300]

Each has two layers, 64 hidden units and a byte-level BPE vocabulary learnt from the same text, and is written as a
model directory (config, safetensors, tokenizer) that `tapml_fuzz offload model` and `tapml_fuzz carve` take. Seeds are
fixed and torch runs on one thread, so the same versions give the same weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers

_CORPUS = Path(__file__).resolve().parents[2] / "corpus" / "sentences" / "english_and_more.txt"
_VOCABULARY = 512
_POSITIONS = 256
_WINDOW, _BATCH = 64, 8
_SPECIAL = ("<pad>", "<s>", "</s>")

_COMMON = {"vocab_size": _VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_USUAL = {
    **_COMMON,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": _POSITIONS,
}
# Keys and values shared by two heads each, as most recent models have them.
_GROUPED = {**_USUAL, "num_key_value_heads": 2}
_OLD = {**_COMMON, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": _POSITIONS}

# Architecture -> what its configuration says beyond the defaults, which are those of the published models.
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "gpt2": _OLD,
    "gpt_neox": _USUAL,
    "opt": {**_USUAL, "ffn_dim": 160, "word_embed_proj_dim": 64},
    "bloom": {**_COMMON, "hidden_size": 64, "n_layer": 2, "n_head": 4},
    "falcon": {**_USUAL, "new_decoder_architecture": False, "alibi": False},
    "phi": _USUAL,
    "phi3": _GROUPED,
    "llama": _GROUPED,
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 16},
    "gemma": {**_GROUPED, "head_dim": 16},
    "gemma2": {**_GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16},
    "gemma3_text": {**_GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16},
    "stablelm": _GROUPED,
    "olmo2": _GROUPED,
    "starcoder2": _GROUPED,
    "granite": _GROUPED,
    "cohere": {**_GROUPED, "logit_scale": 1.0},
    "glm": {**_GROUPED, "head_dim": 16},
}


def learn_tokenizer(text: str) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the text."""
    learnt = tokenizers.Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learnt.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=list(_SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    learnt.train_from_iterator(text.splitlines(), trainer)
    pad, begin, end = _SPECIAL
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=learnt,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )


def train(network: torch.nn.Module, tokens: torch.Tensor, steps: int) -> tuple[float, float]:
    """Teach `network` to continue the text; its loss on one fixed batch before and after."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    probe = _windows(tokens, torch.Generator().manual_seed(1))
    before = _loss(network, probe)
    network.train()
    for _ in range(steps):
        batch = _windows(tokens, generator)
        optimizer.zero_grad()
        network(input_ids=batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return before, _loss(network, probe)


def _windows(tokens: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    starts = torch.randint(len(tokens) - _WINDOW, (_BATCH,), generator=generator)
    return torch.stack([tokens[s : s + _WINDOW] for s in starts.tolist()])


def _loss(network: torch.nn.Module, batch: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad():
        return float(network(input_ids=batch, labels=batch).loss)


def make(name: str, folder: Path, tokenizer: transformers.PreTrainedTokenizerFast, text: str, steps: int) -> str:
    """Train one architecture into `folder`; a line about it."""
    began = time.monotonic()
    torch.manual_seed(0)
    settings = dict(ARCHITECTURES[name])
    config = transformers.AutoConfig.for_model(name, **settings)
    network = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    tokens = torch.tensor(tokenizer(text)["input_ids"])
    before, after = train(network, tokens, steps)
    network.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    count = sum(p.numel() for p in network.parameters())
    return f"{name:12} {count:7} parameters, loss {before:.3f} -> {after:.3f}, {time.monotonic() - began:.1f}s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", default=",".join(ARCHITECTURES), metavar="NAMES", help="architectures, with commas")
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = _CORPUS.read_text("utf-8")
    tokenizer = learn_tokenizer(text)
    for name in options.only.split(","):
        print(make(name, options.output / name, tokenizer, text, options.steps), flush=True)


if __name__ == "__main__":
    main()
