"""What `jaxai generate RUN "prompt"` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from jaxai.core.errors import InputError
from jaxai.data.text.rows import tell_replaced
from jaxai.data.text.utf8 import to_text
from jaxai.generation.sampling import Sampling
from jaxai.generation.text import Writer
from jaxai.training.saved import SavedRun

MAX_NEW_TOKENS = 128
"""Where nothing else is asked for; fewer where the model has not as many positions left."""
BETWEEN = "\n---\n"
"""Stands between samples."""


def pieces(
    run: SavedRun,
    prompt: str,
    *,
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float | None = None,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    beams: int | None = None,
    num_samples: int = 1,
) -> Iterator[str]:
    """Text in pieces as it comes: `num_samples` continuations of `prompt`, or the best by beam search.

    They begin with the prompt, but for what an encoder-decoder makes of it, and end before a text of `stop`. Raises
    InputError named as the flags.
    """
    if num_samples < 1:
        raise InputError("--num-samples", f"must be at least 1, is {num_samples}")
    given = {"temperature": temperature, "top-k": top_k, "top-p": top_p, "repetition-penalty": repetition_penalty}
    drawing = next((name for name, value in given.items() if value is not None), "stop" if stop else None)
    if beams is not None and drawing is not None:
        raise InputError("--beams", f"searches among whole texts, where --{drawing} says nothing", "leave one out")
    if "" in stop:
        raise InputError("--stop", "is empty", "at least one character")
    if beams is not None and num_samples > beams:
        raise InputError("--num-samples", f"{num_samples} of {beams} beams", f"at most {beams}")
    prompt, replaced = to_text(prompt)
    tell_replaced(("PROMPT",), replaced)
    sampling = Sampling(
        temperature=1.0 if temperature is None else temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=1.0 if repetition_penalty is None else repetition_penalty,
    )
    writer = Writer.of_run(run)
    room = writer.room(prompt, MAX_NEW_TOKENS) if max_new_tokens is None else max_new_tokens
    before = "" if writer.is_encoder_decoder else prompt
    if beams is not None:
        texts = writer.best([prompt], num_beams=beams, max_new_tokens=room)[0][:num_samples]
        yield BETWEEN.join(f"{before}{text}" for text in texts) + "\n"
        return
    sampling = dataclasses.replace(sampling, max_new_tokens=room)
    for row in range(num_samples):
        written = writer.stream(prompt, sampling, seed=seed, row=row, stop=stop)
        # The prompt waits for what follows: it may be refused, and is compiled first.
        yield (BETWEEN if row else "") + before + next(written, "")
        yield from written
    yield "\n"
