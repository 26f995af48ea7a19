"""Text as batches of token numbers: tokenizers, sources, length buckets, augmentation.

A source of text is any that gives dicts with text, as str or as bytes of UTF-8, such as `Tfds("tweets")` or
`TextFiles(files=("my.txt",))`. It is tokenized once, when it is opened, and kept in memory. `masking`, which works
within the step, is a module of its own, as it imports JAX.
"""

from jaxai.data.text.augment import EDA, back_translate
from jaxai.data.text.buckets import Buckets
from jaxai.data.text.files import JsonLines, TextFiles
from jaxai.data.text.packed import Packed
from jaxai.data.text.pairs import SentencePairs
from jaxai.data.text.questions import Questions
from jaxai.data.text.tagged import TaggedWords
from jaxai.data.text.texts import Texts
from jaxai.data.text.tokenizers import BPE, Bytes, Tokenizer, WordPiece
from jaxai.data.text.trained import Trained
from jaxai.data.text.training import train_bpe, train_wordpiece
from jaxai.data.text.translations import Translations
from jaxai.data.text.windows import Windows

__all__ = [
    "BPE", "EDA", "Buckets", "Bytes", "JsonLines", "Packed", "Questions", "SentencePairs", "TaggedWords", "TextFiles",
    "Texts", "Tokenizer", "Trained", "Translations", "Windows", "WordPiece", "back_translate", "train_bpe",
    "train_wordpiece",
]  # fmt: skip
