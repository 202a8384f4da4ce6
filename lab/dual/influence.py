"""How much each unit of a prompt did for what was recommended: cheap scores, and the truth.

The truth is leaving the unit out: the prompt without its lines, asked anew. A cheap score is one
run forward and one backward, for all units together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.dual.families import reading_by
from lab.dual.head import Array
from lab.dual.prompts import TokenizedPrompt, Unit, ids_without
from lab.dual.registered import Reader, weights_of
from lab.mini.tokenizer import MiniTokenizer

Layer = Callable[["Attended", Sequence[Unit]], Tensor]


class Score(StrEnum):
    """`HEAD`: sum over layers, heads and queries of <grad, h - h_-J>, with h_-J the exact output of
    a head whose other keys stay as they are. `GATE`: the derivative by a gate that multiplies
    kappa(k_i, .) for i in J. The other two also know that without J all that stands before it moves
    nearer to what stands behind: the angles of rotary positions change."""

    HEAD = "head_output"
    HEAD_MOVED = "head_output_moved"
    GATE = "gate_gradient"
    GATE_MOVED = "gate_gradient_moved"
    ATTENTION_MASS = "attention_mass"
    UPDATE_NORM = "update_norm"
    LAST_LAYER = "last_layer"


@dataclass(frozen=True)
class Attended:
    """A layer of one prompt, all heads: tensors begin with heads and queries (or keys).

    `gradient` is that of the answer's log-probability with regard to `output`; `turn` moves rotated
    keys on by so many places.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    output: Tensor
    gradient: Tensor
    scale: float
    turn: Callable[[Tensor, int], Tensor]

    @cached_property
    def worth(self) -> Tensor:
        """<grad_q, v_i> of each query and key."""
        return self.gradient @ self.value.transpose(-1, -2)

    @cached_property
    def own_worth(self) -> Tensor:
        """<grad_q, h_q> of each query."""
        return (self.gradient * self.output).sum(-1)


# --- scores by layer ------------------------------------------------------------------------------


def _gate(layer: Attended, units: Sequence[Unit]) -> Tensor:
    return _first_order(layer, units).sum((0, 1))


def _head(layer: Attended, units: Sequence[Unit]) -> Tensor:
    left = 1 - layer.weights @ _marks(units, layer.weights)
    return (_first_order(layer, units) / left.clamp_min(1e-6)).sum((0, 1))


def _first_order(layer: Attended, units: Sequence[Unit]) -> Tensor:
    """<grad, sum over J of w_i (v_i - h)> by head, query and unit. Queries of J itself are out:
    without J there are none."""
    marks = _marks(units, layer.weights)
    by_key = layer.weights * layer.worth
    shares = layer.weights @ marks
    return (by_key @ marks - shares * layer.own_worth.unsqueeze(-1)) * (1 - marks)


def _head_moved(layer: Attended, units: Sequence[Unit]) -> Tensor:
    return _by_unit(layer, units, _output_without)


def _output_without(layer: Attended, unit: Unit) -> Tensor:
    behind = slice(unit.end, None)
    weights, worth = layer.weights[:, behind], layer.worth[:, behind]
    before = weights[..., : unit.begin] * torch.exp(_moved_by(layer, unit))
    after = weights[..., behind]
    total = (before * worth[..., : unit.begin]).sum(-1) + (after * worth[..., behind]).sum(-1)
    return (layer.own_worth[:, behind] - total / (before.sum(-1) + after.sum(-1))).sum()


def _gate_moved(layer: Attended, units: Sequence[Unit]) -> Tensor:
    return _gate(layer, units) - _by_unit(layer, units, _move)


def _move(layer: Attended, unit: Unit) -> Tensor:
    """What moving alone does, to first order in the logits."""
    behind = slice(unit.end, None)
    worth = layer.worth[:, behind, : unit.begin] - layer.own_worth[:, behind].unsqueeze(-1)
    return (layer.weights[:, behind, : unit.begin] * _moved_by(layer, unit) * worth).sum()


def _moved_by(layer: Attended, unit: Unit) -> Tensor:
    """How the logits between keys before a unit and queries behind it change without it."""
    key = layer.key[:, : unit.begin]
    moved = layer.turn(key, unit.end - unit.begin) - key
    return layer.query[:, unit.end :] @ moved.transpose(-1, -2) * layer.scale


def _attention_mass(layer: Attended, units: Sequence[Unit]) -> Tensor:
    return (layer.weights[:, -1] @ _marks(units, layer.weights)).sum(0)


def _update_norm(layer: Attended, units: Sequence[Unit]) -> Tensor:
    last = layer.weights[:, -1].unsqueeze(-1) * layer.value
    sums = torch.einsum("hkd,ku->hud", last, _marks(units, layer.weights))
    return sums.norm(dim=-1).sum(0)


def _last_query(layer: Attended, units: Sequence[Unit]) -> Tensor:
    return _first_order(layer, units)[:, -1].sum(0)


def _marks(units: Sequence[Unit], like: Tensor) -> Tensor:
    """Keys x units."""
    marks = like.new_zeros(like.shape[-1], len(units))
    for number, unit in enumerate(units):
        marks[unit.begin : unit.end, number] = 1
    return marks


def _by_unit(
    layer: Attended, units: Sequence[Unit], score: Callable[[Attended, Unit], Tensor]
) -> Tensor:
    return torch.stack([score(layer, unit) for unit in units])


_BY_LAYER: dict[Score, Layer] = {
    Score.HEAD: _head,
    Score.HEAD_MOVED: _head_moved,
    Score.GATE: _gate,
    Score.GATE_MOVED: _gate_moved,
    Score.ATTENTION_MASS: _attention_mass,
    Score.UPDATE_NORM: _update_norm,
}


# --- running --------------------------------------------------------------------------------------


@dataclass
class _Trace:
    """Keeps what a run with gradients reads."""

    layers: list[tuple[Tensor, ...]] = field(default_factory=list)
    scale: float = 1.0

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        weights, z = weights_of(query, key, mask, scale)
        weights = weights / z
        output = weights @ value
        output.retain_grad()
        self.layers.append((query, key, value, weights, output))
        self.scale = scale
        return output


@dataclass(frozen=True)
class _Masked:
    """Nobody but the unit itself reads its keys."""

    unit: Unit

    def read(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
        hidden = torch.zeros_like(mask)
        hidden[..., self.unit.begin : self.unit.end] = torch.finfo(mask.dtype).min
        hidden[..., self.unit.begin : self.unit.end, :] = 0
        attended: Tensor = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask + hidden, scale=scale
        )
        return attended


class Examined:
    """One prompt, and the candidate that it puts first: all that is said is about this one's
    log-probability among the candidates."""

    def __init__(self, model: Any, prompt: TokenizedPrompt) -> None:
        self._model = model
        self.prompt = prompt
        with torch.no_grad():
            self.logprobs = self._logprobs([prompt.ids])[0]
        self.place = int(self.logprobs.argmax())

    def scores(self, wanted: Sequence[Score] = tuple(Score)) -> dict[Score, Array]:
        units = self.prompt.units
        layers = self._attended()
        found = {
            score: sum(_BY_LAYER[score](layer, units) for layer in layers)
            for score in wanted
            if score in _BY_LAYER
        }
        if Score.LAST_LAYER in wanted:
            found[Score.LAST_LAYER] = _last_query(layers[-1], units)
        return {score: _array(values) for score, values in found.items()}

    def left_out(self, tokenizer: MiniTokenizer) -> Array:
        """The truth: what the log-probability is more with each unit than without it."""
        prompt = self.prompt.prompt
        asked = [ids_without(prompt, unit.lines, tokenizer) for unit in self.prompt.units]
        with torch.no_grad():
            return self._more_than([self._logprobs([ids])[0] for ids in asked])

    def masked(self) -> Array:
        """As if nothing read the unit, all else in its place: as dear as the truth."""
        with torch.no_grad(), reading_by(self._model):
            said = [
                self._logprobs([self.prompt.ids], _Masked(unit))[0] for unit in self.prompt.units
            ]
            return self._more_than(said)

    def _more_than(self, said: Sequence[Tensor]) -> Array:
        return _array(self.logprobs[self.place] - torch.stack(list(said))[:, self.place])

    def _attended(self) -> list[Attended]:
        trace = _Trace()
        with reading_by(self._model), torch.enable_grad():
            for parameter in self._model.parameters():
                parameter.requires_grad_(False)
            embedded = self._model.model.embed_tokens(torch.tensor([self.prompt.ids]))
            said = self._of_states(embedded.requires_grad_(), reader=trace)
            said[0, self.place].backward()
        turn = _turning(self._model)
        layers = []
        for kept in trace.layers:
            query, key, value, weights, output = (one.detach()[0] for one in kept)
            gradient = kept[-1].grad[0]
            layers.append(Attended(query, key, value, weights, output, gradient, trace.scale, turn))
        return layers

    def _logprobs(self, ids: Sequence[Sequence[int]], reader: Reader | None = None) -> Tensor:
        embedded = self._model.model.embed_tokens(torch.tensor(ids))
        return self._of_states(embedded, **({} if reader is None else {"reader": reader}))

    def _of_states(self, embedded: Tensor, **how: Any) -> Tensor:
        run = self._model.model(inputs_embeds=embedded, use_cache=False, **how)
        labels = self._model.lm_head.weight[list(self.prompt.labels)]
        return torch.log_softmax(run.last_hidden_state[:, -1] @ labels.T, -1)


def _turning(model: Any) -> Callable[[Tensor, int], Tensor]:
    speeds = model.model.rotary_emb.inv_freq.repeat(2)

    def turn(key: Tensor, places: int) -> Tensor:
        one, other = key.chunk(2, dim=-1)
        angles = places * speeds
        return key * angles.cos() + torch.cat((-other, one), -1) * angles.sin()

    return turn


def _array(values: Any) -> Array:
    return np.asarray(values.double().tolist(), dtype=np.float64)
