"""A tiny BERT, pre-trained on the plays of Shakespeare and the King James Bible, which are fetched on first use.

jaxai train experiments/bert_pretrain.py

Needs the extra `text`, and trains its vocabulary on first use. On bytes, of which whole words are masked, without it:

jaxai train experiments/bert_pretrain.py:on_bytes

Of subwords, seed 0, on held-out plays and chapters: perplexity 40.9 of a masked subword, 33.3 % of them right, of the
pairs 55.0 %; 4,000 steps, about 640 s of one core of a 2-core Intel Xeon at 2.5 GHz; 946,594 parameters. Of bytes, seed
0: perplexity 8.8, 34.5 % right; 1,090 s; 464,392 parameters.

Positions are rotary: with a table of them it learns little more than how frequent each subword is in so many steps.
"""

from typing import Any

from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.joined import Joined
from jaxai.data.text import Bytes, SentencePairs, Trained
from jaxai.data.text.masking import MaskTokens
from jaxai.data.tfds import Tfds
from jaxai.models.bert import Bert
from jaxai.tasks.masked_language_model import MaskedLanguageModel

#: Pieces of words of what is read here, and of what `bert_sentiment` reads.
TOKENIZER = Trained(
    sources=tuple(Tfds(name) for name in ("shakespeare", "kjv", "tweets", "film_snippets")), vocab_size=4000
)


def get_config() -> Experiment:
    """The experiment."""
    # Of a vocabulary that is trained here 4 is [MASK], 2 [CLS] and 3 [SEP].
    return experiment(TOKENIZER, 64, MaskTokens(mask=4, vocab_size=4000, special=(2, 3)))


def on_bytes() -> Experiment:
    """The same on bytes."""
    mask = MaskTokens(mask=261, vocab_size=262, special=(259, 260), whole_words=True)
    return experiment(Bytes(), 128, mask)


def experiment(tokenizer: Any, length: int, mask: MaskTokens) -> Experiment:
    """Pre-training on pairs of sentences, `length` tokens together."""
    encoder = Bert(
        vocab_size=mask.vocab_size, dim=128, depth=2, num_heads=2, max_length=length, rotary=1e4, pool="none"
    )
    return Experiment(
        task=MaskedLanguageModel(encoder=encoder, augment=(mask,), next_sentence=True),
        train=Pipeline(source=pairs("train", tokenizer, length), batch_size=32),
        evals={"test": Pipeline(source=pairs("test", tokenizer, length), batch_size=64)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=2e-3, warmup=Steps(200)), weight_decay=0.01, clip_norm=1.0),
        duration=Steps(4000),
        evaluate_every=Steps(1000),
    )


def pairs(split: str, tokenizer: Any, length: int) -> Joined:
    """Pairs of sentences of the plays, and of verses."""
    texts = [Tfds(name, split=split) for name in ("shakespeare", "kjv")]
    return Joined(tuple(SentencePairs(text, tokenizer=tokenizer, length=length) for text in texts))
