"""Trains on text that is drawn, masked and bucketed, and dies where told to: for `test_text_resume.py`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys

import jax
import numpy as np

import jaxai
from jaxai import optim
from jaxai.data.text import EDA, Buckets, Bytes, SentencePairs, Texts
from jaxai.data.text.files import Listed
from jaxai.data.text.masking import MaskTokens
from jaxai.models.bert import Bert
from jaxai.tasks import Classification
from jaxai.tasks.masked_language_model import MaskedLanguageModel

SIZES = {"vocab_size": 262, "dim": 8, "depth": 1, "num_heads": 2, "max_length": 32, "dropout": 0.1}
RANDOM = np.random.default_rng(0)
TEXTS = Listed([
    {"text": " ".join("".join(map(chr, RANDOM.integers(97, 123, RANDOM.integers(2, 7)))) + "." for _ in range(4)),
     "label": i % 2} for i in range(37)
])  # fmt: skip
SENTIMENT = Classification(model=Bert(**SIZES, num_classes=2), inputs="tokens", further=("segments",))
KINDS = {
    "pairs": (
        MaskedLanguageModel(
            encoder=Bert(**SIZES, pool="none"),
            augment=(MaskTokens(mask=261, vocab_size=262, whole_words=True),),
            next_sentence=True,
        ),
        SentencePairs(TEXTS, tokenizer=Bytes(), length=32),
    ),
    "edited": (SENTIMENT, Texts(EDA(TEXTS, edits=("swap", "delete")), tokenizer=Bytes(), length=32)),
    "buckets": (SENTIMENT, Buckets(Texts(TEXTS, tokenizer=Bytes(), length=32), lengths=(16, 24, 32))),
}


def run(kind: str, folder: str, kill_at: int) -> str:
    """sha256 of the parameters after twelve steps, more than an epoch; killed after step `kill_at`, if not 0."""
    task, source = KINDS[kind]
    experiment = jaxai.Experiment(
        task=task,
        train=jaxai.Pipeline(source=source, batch_size=8),
        optimizer=optim.adam(1e-2),
        duration=jaxai.Steps(12),
        evaluate_every=None,
        checkpoint=jaxai.Checkpoints(every=jaxai.Steps(3)),
        parallel=jaxai.PMap(devices=1),
    )
    for info in jaxai.steps(experiment, folder):
        if kill_at and info.step >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        params = info.state.params
    leaves = jax.tree.leaves(jax.device_get(params))
    return hashlib.sha256(b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)).hexdigest()


if __name__ == "__main__":
    for kind, folder, kill_at in json.loads(sys.argv[1]):
        print(run(kind, folder, kill_at), flush=True)
