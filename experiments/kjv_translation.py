"""English to Spanish: 28,041 verses of the Bible, which are fetched on first use, by a small Transformer.

jaxai train experiments/kjv_translation.py
python experiments/kjv_translation.py runs/kjv_translation  # chrF

Needs the extra `text`. The vocabulary of both languages is trained on first use, in a few seconds.
"""

import dataclasses
from pathlib import Path

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.compat import cache_folder
from jaxai.data.text import BPE, Buckets, Translations
from jaxai.data.text.rows import open_texts, read_examples
from jaxai.data.text.training import train_bpe
from jaxai.data.tfds import Tfds
from jaxai.models.seq2seq import Seq2Seq
from jaxai.tasks.sequence_to_sequence import SequenceToSequence

LANGUAGES = ("english", "spanish")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    """A byte-level BPE of the training verses of both languages, kept in the cache folder."""

    vocab_size: int = 2000
    """Tokens there are."""

    def open(self):
        """The tokenizer, trained unless it was before."""
        path = cache_folder() / f"kjv_spanish_{self.vocab_size}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            train_bpe([row[language] for row in verses("train") for language in LANGUAGES], self.vocab_size, path)
        return BPE(file=str(path)).open()


def verses(split: str) -> list[dict[str, str]]:
    """The texts of a split."""
    return read_examples(open_texts(Tfds("kjv_spanish", split=split), *LANGUAGES), *LANGUAGES)


def pairs(split: str) -> Buckets:
    """Verses in both languages, of each the first 96 tokens."""
    rows = Translations(
        Tfds("kjv_spanish", split=split), tokenizer=Pieces(), length=96,
        source_field="english", target_field="spanish", specials=True,
    )  # fmt: skip
    return Buckets(rows, lengths=(32, 48, 64, 96))


def get_config() -> Experiment:
    """The experiment."""
    model = Seq2Seq(vocab_size=2000, dim=128, depth=2, num_heads=4, hidden=512, max_length=96, norm_first=True)
    return Experiment(
        task=SequenceToSequence(model=model, label_smoothing=0.1),
        train=Pipeline(source=pairs("train"), batch_size=32),
        evals={"validation": Pipeline(source=pairs("validation"), batch_size=64)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-3, warmup=Epochs(0.1)), weight_decay=0.01, clip_norm=1.0),
        duration=Epochs(1),
    )


def main(run: str, num: int = 100) -> None:
    """Prints the chrF of the first verses of the test, greedily translated, and the first three."""
    from jaxai.generation.sampling import Sampling
    from jaxai.generation.text import Writer
    from jaxai.metrics.text import chrf
    from jaxai.training.saved import open_run

    writer, chosen = Writer.of_run(open_run(Path(run), get_config())), verses("test")[:num]
    greedy = Sampling(max_new_tokens=96, temperature=0.0)
    found = [texts[0] for texts in writer.write([row["english"] for row in chosen], greedy)]
    print(f"chrF {chrf(found, [row['spanish'] for row in chosen]):.1f} on {len(chosen)} verses")
    for row, text in list(zip(chosen, found, strict=True))[:3]:
        print(f"\n{row['english']}\n{row['spanish']}\n{text}")


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
