"""Speech to text without alignments: connectionist temporal classification (Graves et al. 2006)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxai import metrics
from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data import augment as augmentation
from jaxai.metrics.edits import token_error_rate, words_of
from jaxai.tasks.ctc_decoding import greedy
from jaxai.tasks.generative import weighted_sum, weights_of
from jaxai.tasks.inputs import apply_model, check_augmentations
from jaxai.tasks.task import Batch, Out, Variables
from jaxai.tasks.text import check_vocabulary, require, require_tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTC:
    """Learns to transcribe: the tokens of a recording, in order, blanks between them, wherever they may lie.

    The loss is in nats a token. Evaluations decode greedily and report `cer`, the error rate of tokens, which are to be
    characters or bytes, and `wer`, that of words. Of a batch it takes the transcripts, `tokens` [batch, length], whose
    `segments` [batch, length] are 0 where they only pad; and, where recordings are padded, `num_frames` [batch].
    """

    model: nn.Module
    """The network: `model(spectra, train, num_frames=) -> logits [batch, step, token]`, with `num_steps(frames)`, such
    as `SpeechEncoder`."""
    augment: tuple[Any, ...]
    """What makes the field `inputs` and changes it in training: `(LogMel(...), SpecAugment(...))`."""
    blank: int
    """The token that stands for none, such as the tokenizer's `pad`."""
    space: int | None = None
    """The token between words; without it no word error rate is known."""
    inputs: str = "log_mel"
    """The field of the batch that the model sees, once augmented."""

    def __post_init__(self):
        check_fields(self, "task.")
        check_augmentations(self.augment)

    def init(self, key: jax.Array, batch: Batch) -> Variables:
        require_tokens(batch, tokens="tokens", segments="segments")
        inputs, num_frames = self._seen(batch, key, False)
        return self.model.init({"params": key, "dropout": key}, inputs, train=False, num_frames=num_frames)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array, train: bool) -> Out:
        inputs, num_frames = self._seen(batch, key, train)
        logits, state = apply_model(self.model, variables, inputs, batch["index"], key, train, num_frames=num_frames)
        steps, weights = self.model.num_steps(num_frames), weights_of(batch)
        tokens, num = batch["tokens"], jnp.sum(batch["segments"] > 0, axis=1, dtype=jnp.int32)
        losses = ctc_loss(logits, steps, tokens, num, self.blank)
        measured: dict[str, metrics.Metric] = {}
        if not train:
            found = greedy(logits, steps, self.blank)
            measured["cer"] = token_error_rate(*found, tokens, num, weights)
            if self.space is not None:
                words = words_of(*found, self.space)
                measured["wer"] = token_error_rate(*words, *words_of(tokens, num, self.space), weights)
        return Out(weighted_sum(losses, weights), jnp.sum(weights * num), state, measured, logits)

    def predict(self, variables: Variables, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Log-probabilities [batch, step, token] and number of steps [batch] of recordings, given by field.

        `greedy` and `beam_search` of `jaxai.tasks.ctc_decoding` make tokens of them.
        """
        index = jnp.arange(len(next(iter(inputs.values()))))
        seen, num_frames = self._seen({**inputs, "index": index}, jax.random.key(0), False)
        logits, _ = apply_model(self.model, variables, seen, index, jax.random.key(0), False, num_frames=num_frames)
        return jax.nn.log_softmax(logits), self.model.num_steps(num_frames)

    def check(self, variables: Variables, batch: Batch) -> None:
        """Raises InputError for transcripts that are empty, hold the blank or unknown tokens, or do not fit."""
        del variables
        require_tokens(batch, tokens="tokens", segments="segments")
        check_vocabulary(self.model, batch, "tokens")
        steps = np.asarray(jax.jit(lambda b: self.model.num_steps(self._seen(b, jax.random.key(0), False)[1]))(batch))
        tokens, real = np.asarray(batch["tokens"]), np.asarray(batch["segments"]) > 0
        needed = np.asarray(_num_needed(tokens, real.sum(axis=1)))
        for row in range(len(tokens)):
            where = f"of example {batch['index'][row]}"
            if not real[row].any():
                raise InputError("tokens", f"the transcript {where} is empty", "leave the recording out")
            if self.blank in tokens[row][real[row]]:
                raise InputError("tokens", f"the transcript {where} holds the blank, {self.blank}", "another blank")
            if needed[row] > steps[row]:
                what = f"the transcript {where} needs {needed[row]} steps, the recording has {steps[row]}"
                raise InputError("tokens", what, "a model of smaller strides, or leave the recording out")

    def _seen(self, batch: Batch, key: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """What the model sees, and its frames [batch] that are no padding."""
        prepared = augmentation.apply(self.augment, dict(batch), key, train)
        require(prepared, inputs=self.inputs)
        x = prepared[self.inputs]
        return x, prepared.get("num_frames", jnp.full((len(x),), x.shape[1], jnp.int32))


def ctc_loss(
    logits: jax.Array, num_steps: jax.Array, tokens: jax.Array, num_tokens: jax.Array, blank: int
) -> jax.Array:
    """Nats [batch] of all ways to say the first `num_tokens` [batch] of `tokens` [batch, length].

    `logits` [batch, step, token], of which `num_steps` [batch] count. nan where there is no such way:
    it would go unnoticed, the guard finds a nan.
    """
    beyond = lambda x, num: (jnp.arange(x.shape[1])[None] >= num[:, None]).astype(logits.dtype)  # noqa: E731
    losses = optax.ctc_loss(logits, beyond(logits, num_steps), tokens, beyond(tokens, num_tokens), blank_id=blank)
    return jnp.where(_num_needed(tokens, num_tokens) <= num_steps, losses, jnp.nan)


def _num_needed(tokens: Any, num: Any) -> jax.Array:
    """Steps [batch] that the first `num` of `tokens` take at least: one each, and a blank between two alike."""
    alike = (tokens[:, 1:] == tokens[:, :-1]) & (jnp.arange(1, tokens.shape[1])[None] < num[:, None])
    return num + jnp.sum(alike, axis=1, dtype=jnp.int32)
