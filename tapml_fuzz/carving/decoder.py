"""A causal language model as the two graphs that generate text: the prefill of a prompt, and the step after it.

The key/value cache is plain tensors here, inputs and outputs of the graphs, so both are functions: what a graph reads
can be recorded, and what it gives can go to the next one from any platform.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from tapml_fuzz.carving import recognise, trace
from tapml_fuzz.carving.models import Inputs, Model
from tapml_fuzz.core.errors import BadModel

_PAST = "past_"


class Decoder(torch.nn.Module):
    """A causal language model that takes its state and gives it back.

    Takes `input_ids` int64[batch, new], `attention_mask` int64[batch, past + new], `position_ids` like `input_ids`
    where the network knows them, and after a prefill `past_0_key`, `past_0_value`, ... [batch, heads, past, width].
    Returns the last token's logits [batch, 1, vocabulary], then keys and values longer by the new tokens.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.takes_positions = "position_ids" in inspect.signature(network.forward).parameters

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        """Return the last logits and the new state; see the class for names, shapes and order."""
        state = [tensor for name, tensor in inputs.items() if name.startswith(_PAST)]
        given = {name: tensor for name, tensor in inputs.items() if not name.startswith(_PAST)}
        cache = _cache(list(zip(state[::2], state[1::2], strict=True)))
        logits = self.network(**given, past_key_values=cache, use_cache=True).logits
        return (logits[:, -1:], *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values)))

    def prompt(self, mask: torch.Tensor, ids: torch.Tensor) -> Inputs:
        """The inputs of a prefill; prompts that are shorter than others are padded on the left."""
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.takes_positions:
            inputs["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        return inputs

    def step(self, before: Inputs, outputs: Sequence[torch.Tensor]) -> Inputs:
        """The inputs of the step after a run that had inputs `before`: its most likely token and its state."""
        chosen = outputs[0].argmax(-1)
        mask = torch.cat([before["attention_mask"], torch.ones_like(chosen)], -1)
        inputs = {"input_ids": chosen, "attention_mask": mask}
        if self.takes_positions:
            inputs["position_ids"] = mask.sum(-1, keepdim=True) - 1
        # Copies: torch.export writes guards that cannot run for a tensor that shows a part of another (Phi-3's values).
        state = (tensor.clone() for tensor in outputs[1:])
        return {**inputs, **dict(zip(_state_names(len(outputs) - 1), state, strict=True))}


class Graphs:
    """A decoder traced as `prefill` and `step`, with the operators of each graph's nodes.

    Raises `BadModel` for a network whose state is no key and value of every layer, or that torch cannot export.
    """

    def __init__(self, model: Model, texts: Sequence[str], device: str) -> None:
        self._model, self._device = model, device
        if model.language_model is None:
            raise BadModel(f"{model.name} generates no text")
        self.decoder = Decoder(model.language_model).eval()
        prompts = [self._prompt(**inputs) for inputs in recognise.probes(model, texts, device)]
        steps = [self.decoder.step(prompt, self._run(prompt)) for prompt in prompts]
        self.prefill = trace.trace(self.decoder, prompts[0])
        self.step = trace.trace(self.decoder, steps[0], _open_axes(steps[0]))
        self.prefill_operators = recognise.recognise(self.prefill, prompts).operators
        self.step_operators = recognise.recognise(self.step, steps).operators

    def tokenize(self, texts: Sequence[str], room: int) -> Inputs:
        """The inputs of a prefill of `texts`, with room left for that many tokens more."""
        length = max(1, self._model.max_length - room)
        encoded = self._model.tokenizer(
            list(texts), padding=True, padding_side="left", truncation=True, max_length=length, return_tensors="pt"
        )
        return self._prompt(**{name: tensor.to(self._device) for name, tensor in encoded.items()})

    def _prompt(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: torch.Tensor) -> Inputs:
        return self.decoder.prompt(attention_mask, input_ids)

    def _run(self, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            try:
                outputs: tuple[torch.Tensor, ...] = self.decoder(inputs)
            except (AttributeError, TypeError, ValueError) as error:
                raise BadModel(f"{self._model.name} has no plain key/value cache: {str(error)[:200]}") from None
        return outputs


def state_of(inputs: Inputs) -> dict[str, int]:
    """The inputs that are the state, each with the number of the output of the run before that it is."""
    return {name: number for number, name in enumerate((n for n in inputs if n.startswith(_PAST)), start=1)}


def _state_names(count: int) -> list[str]:
    return [f"{_PAST}{number // 2}_{('key', 'value')[number % 2]}" for number in range(count)]


def _open_axes(inputs: Inputs) -> trace.OpenAxes:
    """Batch and past of a step; its one new token is a constant."""
    past = dict.fromkeys(state_of(inputs), (0, 2))
    return {"input_ids": (0,), "position_ids": (0,), "attention_mask": (0, 1), **past}


def _cache(state: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    """transformers' cache with that state."""
    from transformers.cache_utils import DynamicCache, DynamicLayer  # slow to import

    class Layer(DynamicLayer):  # type: ignore[misc]
        """Its first update is the state, where the original joins it to an empty tensor."""

        is_initialized: bool

        def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if self.is_initialized:
                return super().update(key_states, value_states, *args, **kwargs)
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.keys, self.values = key_states, value_states
            return self.keys, self.values

    cache = DynamicCache()
    cache.layer_class_to_replicate = Layer
    for keys, values in state:
        layer = Layer()
        layer.update(keys, values)
        cache.layers.append(layer)
    return cache
