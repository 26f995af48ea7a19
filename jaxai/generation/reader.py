"""How generation asks a model for what comes next, whether it is a decoder alone or an encoder with a decoder.

Both read one token of each text a step; a decoder has read all of its prompt but the last token before, an
encoder-decoder its source. So the first step is like every other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxai.core.errors import InputError

SMALLEST = 8
"""Tokens that the shortest prompts are padded to."""

Tokens = Sequence[int] | np.ndarray


class Texts(NamedTuple):
    """Prompts as arrays of one of few shapes; what is past them is padding, segment 0."""

    read: np.ndarray
    """What is read at once, int32 [batch, length]."""
    segments: np.ndarray
    """1 where it is a token, 0 where padding, int32 [batch, length]."""
    token: np.ndarray
    """The token that is read first after that, int32 [batch]."""


class Reader(Protocol):
    """A model that reads; hashable, so that what is compiled for it is found again."""

    @property
    def model(self) -> Any:
        """The model."""
        ...

    def arrange(self, prompts: Sequence[Tokens], room: int) -> Texts:
        """Checks prompts that grow by at most `room` tokens, and pads them to one of few lengths."""
        ...

    def begin(self, variables: Any, texts: Texts, room: int) -> Any:
        """What it holds of the texts once they are read, [batch, ...] or scalars, with `room` for so many tokens."""
        ...

    def step(self, variables: Any, token: jax.Array, held: Any) -> tuple[jax.Array, Any]:
        """(the model's output float32 [batch, vocab], what it holds) after one more `token` [batch] of each text."""
        ...


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A decoder alone, which goes on with its prompts; it holds its cache."""

    model: Any

    def arrange(self, prompts: Sequence[Tokens], room: int) -> Texts:
        longest = _check(prompts, self.model)
        limit = getattr(self.model, "max_length", None)
        if limit is not None and longest + room > limit:
            what = f"{longest} tokens and {room} new ones, but {type(self.model).__name__} has {limit} positions"
            fix = f"max_new_tokens of at most {limit - longest}" if longest < limit else f"at most {limit - 1} tokens"
            raise InputError("prompt", what, fix)
        length = _bucket(longest - 1, limit)
        read, segments = _padded([prompt[:-1] for prompt in prompts], length, at_end=False)
        return Texts(read, segments, np.array([prompt[-1] for prompt in prompts], np.int32))

    def begin(self, variables: Any, texts: Texts, room: int) -> Any:
        size = texts.read.shape[1] + room
        reading: dict[str, Any] = {"segments": texts.segments, "cache_size": size, "mutable": ["cache"]}
        return self.model.clone(head=False).apply(variables, texts.read, **reading)[1]["cache"]

    def step(self, variables: Any, token: jax.Array, held: Any) -> tuple[jax.Array, Any]:
        out, state = self.model.apply({**variables, "cache": held}, token[:, None], mutable=["cache"])
        return out[:, 0].astype(jnp.float32), state["cache"]


@dataclasses.dataclass(frozen=True)
class EncoderDecoder:
    """An encoder that reads sources, and a decoder whose targets begin with `bos`.

    It holds the decoder's cache, the encoder's outputs and which of them are of tokens.
    """

    model: Any
    bos: int

    def arrange(self, prompts: Sequence[Tokens], room: int) -> Texts:
        longest = _check(prompts, self.model)
        limit = getattr(self.model, "max_length", None)
        for what, length in (("source", longest), ("target", room)):
            if limit is not None and length > limit:
                name = type(self.model).__name__
                raise InputError(what, f"{length} tokens, but {name} has {limit} positions", f"at most {limit}")
        read, segments = _padded(prompts, _bucket(longest, limit), at_end=True)
        return Texts(read, segments, np.full(len(prompts), self.bos, np.int32))

    def begin(self, variables: Any, texts: Texts, room: int) -> Any:
        memory = self.model.apply(variables, texts.read, segments=texts.segments, method="encode")
        token = jnp.asarray(texts.token)
        _, state = jax.eval_shape(lambda: self._decode(variables, token, memory, texts.segments, cache_size=room))
        # A cache of nothing is zeros.
        cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state["cache"])
        return cache, memory, jnp.asarray(texts.segments)

    def step(self, variables: Any, token: jax.Array, held: Any) -> tuple[jax.Array, Any]:
        cache, memory, segments = held
        logits, state = self._decode({**variables, "cache": cache}, token, memory, segments)
        return logits[:, 0].astype(jnp.float32), (state["cache"], memory, segments)

    def _decode(self, variables: Any, token: jax.Array, memory: Any, segments: Any, **settings: Any) -> Any:
        settings |= {"segments": segments, "mutable": ["cache"], "method": "decode"}
        return self.model.apply(variables, token[:, None], memory, **settings)


def is_language_model(model: Any) -> bool:
    """Whether it is a decoder, or an encoder-decoder, of tokens."""
    return hasattr(model, "vocab_size") and (hasattr(model, "head") or is_encoder_decoder(model))


def is_encoder_decoder(model: Any) -> bool:
    """Whether it has an encoder of its own."""
    return hasattr(model, "encode") and hasattr(model, "decode")


def reader(model: Any, bos: int | None) -> Reader:
    """That of a decoder, or of an encoder-decoder, whose targets begin with `bos`."""
    if not is_language_model(model):
        raise InputError("model", f"{type(model).__name__} is no language model", "such as GPT2")
    if not is_encoder_decoder(model):
        return Decoder(model)
    if bos is None:
        what = f"{type(model).__name__} begins its targets with a token"
        raise InputError("bos", what, "bos=N, that of the tokenizer")
    return EncoderDecoder(model, bos)


def _check(prompts: Sequence[Tokens], model: Any) -> int:
    """Length of the longest prompt; raises InputError for one that is empty or of tokens that there are not."""
    if not len(prompts):
        raise InputError("prompts", "are none", "at least one")
    vocab = model.vocab_size
    for i, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError(f"prompts.{i}", "is empty", "at least one token")
        if not 0 <= min(prompt) <= max(prompt) < vocab:
            token = next(int(token) for token in prompt if not 0 <= token < vocab)
            raise InputError(f"prompts.{i}", f"token {token} is none of the model's {vocab:,}", "its own tokenizer")
    return max(map(len, prompts))


def _bucket(length: int, limit: int | None) -> int:
    """The power of two that holds `length`, so that prompts come in few shapes."""
    bucket = max(SMALLEST, 1 << max(length - 1, 0).bit_length())
    return bucket if limit is None else max(min(bucket, limit), length)


def _padded(texts: Sequence[Tokens], length: int, at_end: bool) -> tuple[np.ndarray, np.ndarray]:
    tokens, segments = np.zeros((2, len(texts), length), np.int32)
    for row, text in enumerate(texts):
        place = slice(0, len(text)) if at_end else slice(length - len(text), length)
        tokens[row, place], segments[row, place] = text, 1
    return tokens, segments
