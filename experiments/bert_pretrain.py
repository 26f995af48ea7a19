"""A tiny BERT, pre-trained on the plays of Shakespeare and the King James Bible, which are fetched on first use.

jaxai train experiments/bert_pretrain.py

No figure yet.
"""

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.joined import Joined
from jaxai.data.text import SentencePairs
from jaxai.data.text.masking import MaskTokens
from jaxai.data.text.trained import Trained
from jaxai.data.tfds import Tfds
from jaxai.models.bert import Bert
from jaxai.tasks.masked_language_model import MaskedLanguageModel

#: Pieces of words of what is read here, and of what `bert_sentiment` reads.
TOKENIZER = Trained(
    sources=tuple(Tfds(name) for name in ("shakespeare", "kjv", "tweets", "film_snippets")), vocab_size=8000
)
ENCODER = Bert(vocab_size=8000, dim=128, depth=2, num_heads=2, max_length=64, pool="none", dropout=0.0)


def get_config() -> Experiment:
    """The experiment."""
    # Of a vocabulary that is trained here 4 is [MASK], 2 [CLS] and 3 [SEP].
    mask = MaskTokens(mask=4, vocab_size=8000, special=(2, 3))
    return Experiment(
        task=MaskedLanguageModel(encoder=ENCODER, augment=(mask,), next_sentence=True),
        train=Pipeline(source=pairs("train"), batch_size=32),
        evals={"test": Pipeline(source=pairs("test"), batch_size=64)},
        optimizer=optim.muon(optim.WarmupCosine(peak=3e-2, warmup=Steps(50)), weight_decay=0.01, clip_norm=1.0),
        duration=Steps(1000),
        evaluate_every=Steps(1000),
    )


def pairs(split: str) -> Joined:
    """Pairs of sentences of the plays, and of verses."""
    texts = [Tfds(name, split=split) for name in ("shakespeare", "kjv")]
    return Joined(tuple(SentencePairs(text, tokenizer=TOKENIZER, length=64) for text in texts))
