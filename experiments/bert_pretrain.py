"""A tiny BERT, pre-trained on the plays of Shakespeare and the King James Bible, which are fetched on first use.

jaxai train experiments/bert_pretrain.py

No figure yet.
"""

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.joined import Joined
from jaxai.data.text import SentencePairs, WordPiece
from jaxai.data.text.masking import MaskTokens
from jaxai.data.tfds import Tfds
from jaxai.models.bert import Bert
from jaxai.tasks.masked_language_model import MaskedLanguageModel

#: BERT-tiny of Turc et al. (2019); its own vocabulary, of modern words too.
ENCODER = Bert(dim=128, depth=2, num_heads=2, max_length=64, pool="none", dropout=0.1)
TOKENIZER = WordPiece(file="bert_uncased")


def get_config() -> Experiment:
    """The experiment."""
    # Of that vocabulary 103 is [MASK], 101 [CLS] and 102 [SEP].
    mask = MaskTokens(mask=103, vocab_size=ENCODER.vocab_size, special=(101, 102))
    return Experiment(
        # Most of the time goes into logits of 30,522 tokens: 14 places are enough for 19 rows in 20.
        task=MaskedLanguageModel(encoder=ENCODER, augment=(mask,), next_sentence=True, max_chosen=14),
        train=Pipeline(source=pairs("train"), batch_size=32),
        evals={"test": Pipeline(source=pairs("test"), batch_size=64)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-3, warmup=Steps(50)), weight_decay=0.01, clip_norm=1.0),
        duration=Steps(500),
        evaluate_every=Steps(500),
    )


def pairs(split: str) -> Joined:
    """Pairs of sentences of the plays, and of verses."""
    texts = [Tfds(name, split=split) for name in ("shakespeare", "kjv")]
    return Joined(tuple(SentencePairs(text, tokenizer=TOKENIZER, length=64) for text in texts))
