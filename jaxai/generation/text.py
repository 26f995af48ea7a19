"""Text in, text out: a language model with its tokenizer, such as a run has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxai.core.errors import InputError
from jaxai.data.text.tokenizers import Tokenizer, open_tokenizer
from jaxai.data.text.translations import beginning_and_end
from jaxai.generation.beam import beam_search
from jaxai.generation.generator import Generator
from jaxai.generation.reader import EncoderDecoder, is_encoder_decoder, is_language_model
from jaxai.generation.sampling import Sampling
from jaxai.training.saved import SavedRun

SPARE = 128
"""A model has fewer tokens than so many beyond its tokenizer's: some round their vocabulary up to a multiple of it."""


@dataclasses.dataclass(frozen=True)
class Writer:
    """Continues texts, or, with an encoder-decoder, turns them into others."""

    generator: Generator
    tokenizer: Tokenizer
    specials: bool = False
    """Whether the source of an encoder-decoder begins and ends with tokens that say so."""

    @classmethod
    def of(cls, model: Any, variables: Any, tokenizer: Tokenizer, *, specials: bool = False) -> Writer:
        """`tokenizer` is an opened one."""
        bos = beginning_and_end(tokenizer)[0] if is_encoder_decoder(model) else None
        generator = Generator.of(model, variables, bos=bos)
        size = generator.reader.model.vocab_size
        if not tokenizer.vocab_size <= size < tokenizer.vocab_size + SPARE:
            what = f"has {tokenizer.vocab_size:,} tokens, the model {size:,}"
            raise InputError("tokenizer", what, "the one that the model was trained with")
        return cls(generator, tokenizer, specials)

    @classmethod
    def of_run(cls, run: SavedRun) -> Writer:
        """The model of a run, with the tokenizer of its training data."""
        task, source = run.setup.experiment.task, run.setup.experiment.train.source
        model = getattr(task, "model", None)
        if not is_language_model(model):
            what = f"{type(task).__name__} of {type(model).__name__} is no language model"
            raise InputError("task", what, "such as LanguageModel(model=GPT2())")
        while not hasattr(source, "tokenizer"):
            if not hasattr(source, "source"):
                raise InputError("train.source", "names no tokenizer", "such as Windows(..., tokenizer=Bytes())")
            source = source.source
        specials = getattr(source, "specials", False)
        return cls.of(model, run.variables, open_tokenizer(source.tokenizer), specials=specials)

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether it writes new texts, and does not go on with the given ones."""
        return isinstance(self.generator.reader, EncoderDecoder)

    def encode(self, text: str) -> np.ndarray:
        """The prompt of a text; raises InputError where it is empty or the tokenizer does not know all of it."""
        if not text:
            raise InputError("prompt", "is empty", "at least one character")
        tokens, unknown = self.tokenizer.encode(text), self.tokenizer.unk
        if unknown is not None and unknown in tokens:
            foreign = next((char for char in text if unknown in self.tokenizer.encode(char)), text)
            raise InputError("prompt", f"{foreign!r} is unknown to the tokenizer", "what its training text has")
        if self.specials:
            before, after = beginning_and_end(self.tokenizer)
            tokens = np.concatenate([[before], tokens, [after]])
        return tokens

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end a text."""
        end = beginning_and_end(self.tokenizer)[1] if self.is_encoder_decoder else self.tokenizer.eos
        return () if end is None else (end,)

    def room(self, prompt: str, wanted: int) -> int:
        """`wanted` new tokens, or as many as the model has positions for after `prompt`; at least 1."""
        limit = getattr(self.generator.reader.model, "max_length", None)
        if limit is None:
            return wanted
        return max(1, min(wanted, limit - (0 if self.is_encoder_decoder else len(self.encode(prompt)))))

    def write(
        self, texts: Sequence[str], sampling: Sampling, *, seed: int = 0, num_samples: int = 1
    ) -> list[list[str]]:
        """`num_samples` continuations of each text, drawn independently: [text][sample]."""
        prompts = [self.encode(text) for text in texts for _ in range(num_samples)]
        new = self.generator.generate(prompts, self._until(sampling), seed=seed)
        written = [self.tokenizer.decode(tokens) for tokens in new]
        return [written[start : start + num_samples] for start in range(0, len(written), num_samples)]

    def stream(
        self, text: str, sampling: Sampling, *, seed: int = 0, row: int = 0, stop: tuple[str, ...] = (), chunk: int = 4
    ) -> Iterator[str]:
        """One continuation, in pieces as they come; ends before the first of the texts `stop`.

        That of `write` with the same seed, where it is the sample of number `row`.
        """
        tokens, said = np.zeros(0, np.int32), ""
        prompt, until = self.encode(text), self._until(sampling)
        for new in self.generator.stream([prompt], until, seed=seed, rows=[row], chunk=chunk):
            tokens = np.append(tokens, new[0][new[0] >= 0])
            written = self.tokenizer.decode(tokens)
            found = min((place for place in map(written.find, stop) if place >= 0), default=None)
            if found is not None:
                yield written[len(said) : found]
                return
            piece = written[len(said) : _settled(written, stop)]
            said += piece
            if piece:
                yield piece
        rest = self.tokenizer.decode(tokens)[len(said) :]
        if rest:
            yield rest

    def best(self, texts: Sequence[str], *, num_beams: int, max_new_tokens: int, **settings: Any) -> list[list[str]]:
        """The continuations that beam search finds, best first: [text][beam]; see `beam_search` for the settings."""
        of = self.generator
        found = beam_search(
            of.reader.model,
            of.variables,
            [self.encode(text) for text in texts],
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            stop=self.ends,
            bos=of.reader.bos if isinstance(of.reader, EncoderDecoder) else None,
            **settings,
        )
        return [[self.tokenizer.decode(new) for new in beams] for beams in found.tokens]

    def _until(self, sampling: Sampling) -> Sampling:
        return dataclasses.replace(sampling, stop=(*sampling.stop, *self.ends))


def generate_text(
    run: SavedRun, texts: Sequence[str], sampling: Sampling, *, seed: int = 0, num_samples: int = 1
) -> list[list[str]]:
    """What a run's model writes, [text][sample]; `Writer` prepares it once for many calls."""
    return Writer.of_run(run).write(texts, sampling, seed=seed, num_samples=num_samples)


def _settled(text: str, stop: tuple[str, ...]) -> int:
    """How much of `text` no further token changes: a character may be half there, a text that stops it too."""
    end = len(text.rstrip("\ufffd"))
    halves = (n for each in stop for n in range(1, len(each)) if text[:end].endswith(each[:n]))
    return end - max(halves, default=0)
