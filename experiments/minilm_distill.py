"""Two layers of 128 features learn from MiniLM whether tweets are positive; it learned that in `minilm_sentiment`.

jaxai train experiments/minilm_sentiment.py && jaxai train experiments/minilm_distill.py

The same student without its teacher:

jaxai train experiments/minilm_distill.py:alone

88.1 % (87.1-88.9) of 684 other tweets right, and alone 86.6 % (86.3-87.3), mean (range) of seeds 0-2, the teacher being
that of seed 0 with 95.3 %; 325 steps, about 105 s of one core of a 2-core Intel Xeon at 2.5 GHz, alone 30 s; 4,312,322
parameters to the teacher's 22,566,146.
"""

import dataclasses

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.adapt import FromRun
from jaxai.data.text import Texts, WordPiece
from jaxai.data.tfds import Tfds
from jaxai.models.bert import Bert, minilm
from jaxai.tasks import Classification
from jaxai.tasks.distillation import Distill

STUDENT = Bert(dim=128, depth=2, num_heads=2, max_length=64, pool="mean", num_classes=2, dropout=0.1)
TEACHER = minilm(num_classes=2, dropout=0.1)


def get_config() -> Experiment:
    """The student learns from the teacher's answers, and a little from the labels."""
    experiment = alone()
    task = Distill(task=experiment.task, teacher=TEACHER, share=0.9, temperature=3.0)
    start = FromRun(run="runs/minilm_sentiment", rename=(("^", "teacher/"),), new=("^student/",))
    return dataclasses.replace(experiment, task=task, start_from=start, freeze=("^teacher/",))


def alone() -> Experiment:
    """The same network and steps from the labels alone."""
    return Experiment(
        task=Classification(model=STUDENT, inputs="tokens", further=("segments",)),
        train=Pipeline(source=tweets("train"), batch_size=32),
        evals={"test": Pipeline(source=tweets("test"), batch_size=64)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=1e-3, warmup=Epochs(0.5)), weight_decay=0.01, clip_norm=1.0),
        duration=Epochs(4),
        evaluate_every=Epochs(4),
    )


def tweets(split: str) -> Texts:
    """Tweets with their label."""
    return Texts(Tfds("tweets", split=split), tokenizer=WordPiece(file="bert_uncased"), length=40, specials=True)
