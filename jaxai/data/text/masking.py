"""Masked language modelling (Devlin et al. 2019): tokens are masked within the step, anew each time."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxai.core.errors import InputError
from jaxai.core.fields import check_fields
from jaxai.data.augment.base import Batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskTokens:
    """Chooses tokens that are to be predicted; of these 80% become `mask`, 10% a random token, and 10% stay.

    Reads `tokens` [batch, length], `segments` if there are any, whose 0 is padding, and for whole words `words`, -1
    where a token belongs to none. Writes `tokens`, the original ones as `targets`, and `chosen`, float32, 1 where a
    token is to be predicted. Evaluations mask as well, the same tokens each time.
    """

    mask: int
    """Number of the token that masks."""
    vocab_size: int
    """Random tokens are below this number."""
    rate: float = 0.15
    """Share of the tokens, or of the words, that are chosen."""
    whole_words: bool = False
    """Choose all tokens of a word or none of them."""
    special: tuple[int, ...] = ()
    """Tokens that are never chosen, such as `cls` and `sep`."""

    def __post_init__(self):
        check_fields(self, "MaskTokens.")
        if not 0 < self.rate <= 1:
            raise InputError("MaskTokens.rate", f"{self.rate}", "above 0 and at most 1")
        if not 0 <= self.mask < self.vocab_size:
            what = f"{self.mask} is no token of a vocabulary of {self.vocab_size}"
            raise InputError("MaskTokens.mask", what, f"0 to {self.vocab_size - 1}")

    def __call__(self, batch: Batch, keys: jax.Array, train: bool) -> Batch:
        del train
        tokens = batch["tokens"]
        # By place, so that a row that is cut shorter has the first of the same numbers.
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (tokens.shape[1], 3)))(keys)
        choice, how, other = jnp.moveaxis(uniform, 2, 0)
        may = batch["segments"] > 0 if "segments" in batch else jnp.ones_like(tokens, bool)
        may &= ~jnp.isin(tokens, jnp.array(self.special, tokens.dtype))
        if self.whole_words:
            words = self._words(batch)
            may &= words >= 0
            choice = jnp.take_along_axis(choice, words, axis=1, mode="clip")
        chosen = may & (choice < self.rate)
        anything = (other * self.vocab_size).astype(tokens.dtype)
        changed = jnp.where(how < 0.8, self.mask, jnp.where(how < 0.9, anything, tokens))
        masked = jnp.where(chosen, changed, tokens)
        return batch | {"tokens": masked, "targets": tokens, "chosen": chosen.astype(jnp.float32)}

    def _words(self, batch: Batch) -> jax.Array:
        if "words" not in batch:
            raise InputError("MaskTokens.whole_words", "the batch has no 'words'", "Texts(..., words=True)")
        return batch["words"]
