"""A small GPT-2 on the bytes of Shakespeare's plays, which are fetched on first use; or on any text.

jaxai train experiments/shakespeare_gpt.py && jaxai generate runs/shakespeare_gpt "ROMEO"

On a text of one's own, called `my.txt` or else (its last tenth is held out):

jaxai train experiments/shakespeare_gpt.py:own

On two plays that are not read, 2.58 bits a byte (2.57-2.58), mean (range) of seeds 0-2; 600 steps, about 185 s of one
core of a 2-core Intel Xeon at 2.5 GHz; 1,041,536 parameters. Of seed 0, `generate ... "ROMEO:" --temperature 0.5`:

    ROMEO:
    The me fool who my the cannot the bear engerself.

    DON SIDA:
    I do all the field that that world not be her.
"""

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.text import Bytes, TextFiles, Windows
from jaxai.data.tfds import Tfds
from jaxai.models.gpt2 import GPT2
from jaxai.tasks.language_model import LanguageModel

LENGTH = 128


def get_config() -> Experiment:
    """The experiment on Shakespeare."""
    return on(Tfds(name="shakespeare", split="train"), Tfds(name="shakespeare", split="test"))


def own() -> Experiment:
    """The same on `my.txt`."""
    return on(TextFiles(files=("my.txt",)), TextFiles(files=("my.txt",), split="test"))


def on(train: Tfds | TextFiles, test: Tfds | TextFiles) -> Experiment:
    """The experiment on these texts."""
    # Each token of a window but the first is predicted from those before it.
    train_windows, test_windows = (Windows(texts, tokenizer=Bytes(), length=LENGTH + 1) for texts in (train, test))
    return Experiment(
        task=LanguageModel(model=GPT2(vocab_size=262, dim=128, depth=5, num_heads=4, max_length=LENGTH)),
        train=Pipeline(source=train_windows, batch_size=16),
        evals={"test": Pipeline(source=test_windows, batch_size=64)},
        optimizer=optim.muon(optim.WarmupCosine(peak=4e-2, warmup=Steps(30)), weight_decay=0.1, clip_norm=1.0),
        duration=Steps(600),
        evaluate_every=Steps(600),
    )
