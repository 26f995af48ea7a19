"""Each task of text from raw text to a fact: rules so plain that a tiny model learns them whole in seconds."""

from __future__ import annotations

import random

import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.core.errors import InputError
from jaxai.data.source import open_source
from jaxai.data.text import (
    Buckets,
    Bytes,
    Packed,
    Questions,
    SentencePairs,
    TaggedWords,
    Texts,
    Translations,
    back_translate,
)
from jaxai.data.text.files import Listed
from jaxai.data.text.masking import MaskTokens
from jaxai.generation.text import Writer
from jaxai.metrics.answers import squad
from jaxai.metrics.text import chrf
from jaxai.models.bert import Bert
from jaxai.models.gpt2 import GPT2
from jaxai.models.seq2seq import Seq2Seq
from jaxai.tasks import Classification
from jaxai.tasks.language_model import LanguageModel
from jaxai.tasks.masked_language_model import MaskedLanguageModel
from jaxai.tasks.question_answering import QuestionAnswering
from jaxai.tasks.sequence_to_sequence import SequenceToSequence
from jaxai.tasks.token_classification import TokenClassification
from jaxai.training.saved import open_run

pytestmark = pytest.mark.experiments

SIZES = {"vocab_size": 262, "dim": 32, "depth": 1, "num_heads": 2}
RANDOM = random.Random(0)


def word(letters="abcdefgh", least=2, most=5):
    return "".join(RANDOM.choice(letters) for _ in range(RANDOM.randint(least, most)))


def learn(task, train, test, steps, folder=None, *, peak=1e-2):
    """What the test comes to; of a folder the run, too."""
    experiment = jaxai.Experiment(
        task=task,
        train=jaxai.Pipeline(source=train, batch_size=32),
        evals={"test": jaxai.Pipeline(source=test, batch_size=32)},
        optimizer=optim.adam(optim.WarmupCosine(peak=peak, warmup=jaxai.Steps(20)), clip_norm=1.0),
        duration=jaxai.Steps(steps),
        evaluate_every=None,
        parallel=jaxai.PMap(devices=1),
    )
    result = jaxai.train(experiment, folder, display="none")
    return {name.removeprefix("test/"): value for name, value in result.metrics.items()}, result, experiment


def test_token_classification_finds_every_span():
    """Words with b begin a name, those with i go on with it."""
    tags = ("O", "B-X", "I-X")

    def sentence():
        words = [word("acdefgh"[: RANDOM.randint(1, 7)]) for _ in range(4)] + ["b" + word(), "i" + word()]
        if RANDOM.random() < 0.5:
            words = words[-2:] + words[:-2]
        return {"words": words, "tags": [{"b": "B-X", "i": "I-X"}.get(each[0], "O") for each in words]}

    train, test = (
        TaggedWords(Listed([sentence() for _ in range(num)]), tokenizer=Bytes(), length=48, classes=tags)
        for num in (256, 64)
    )
    model = Bert(**SIZES, max_length=48, pool="none", num_classes=3)
    measured, _, _ = learn(TokenClassification(model=model, tags=tags), train, test, 60)
    assert measured["span_f1"] == 1
    assert measured["loss"] < 0.05


def test_question_answering_gives_the_words_of_the_answer():
    """The one number of the context."""

    def example():
        answer = word("0123456789", 2, 4)
        before = " ".join(word() for _ in range(RANDOM.randint(0, 3)))
        return {"question": word(), "context": f"{before} {answer} {word()}", "answer": answer,
                "answer_start": len(before) + 1}  # fmt: skip

    train, test = (
        Questions(Listed([example() for _ in range(num)]), tokenizer=Bytes(), length=40) for num in (512, 64)
    )
    model = Bert(**SIZES, max_length=40, pool="none", num_classes=2)
    measured, result, experiment = learn(QuestionAnswering(model=model), train, test, 200)
    assert measured["exact_match"] == measured["f1"] == 1
    source = open_source(test)
    places = experiment.task.predict(result.variables, source.batch(np.arange(64)))
    found = source.texts(range(64), np.asarray(places))
    assert found == source.answers
    assert squad(found, [[answer] for answer in source.answers]) == {"exact_match": 100, "f1": 100}


def test_a_classifier_of_texts_learns_what_each_of_them_holds():
    def example():
        label = RANDOM.randint(0, 1)
        return {"text": word() + ("z" if label else "y") + word(), "label": label}

    train, test = (Texts(Listed([example() for _ in range(n)]), tokenizer=Bytes(), length=16) for n in (256, 64))
    model = Bert(**SIZES, max_length=16, pool="mean", num_classes=2)
    task = Classification(model=model, inputs="tokens", further=("segments",))
    measured, _, _ = learn(task, train, test, 60)
    assert measured["accuracy"] == 1


def test_a_language_model_of_packed_texts_needs_few_bits():
    """Each text is one letter, so that all but the first token and the end are certain."""
    texts = [{"text": letter * 15} for letter in "abcdefgh" * 8]
    source = Packed(Listed(texts), tokenizer=Bytes(), length=40)
    measured, _, _ = learn(LanguageModel(model=GPT2(**SIZES, max_length=40)), source, source, 80)
    # A token that follows is the letter, and the end comes where the position says so.
    assert measured["bits_per_byte"] < 0.05
    assert measured["perplexity"] < 1.04
    assert measured["accuracy"] == 1


def test_masked_tokens_are_told_from_their_neighbours():
    """Each document is of one letter: what is masked is seen in what is not, and so is what does not follow."""
    texts = [{"text": " ".join([letter * 4 + "."] * 24)} for letter in "abcdefgh"]
    source = SentencePairs(Listed(texts), tokenizer=Bytes(), length=32)
    mask = MaskTokens(mask=261, vocab_size=262, special=(259, 260))
    task = MaskedLanguageModel(
        encoder=Bert(**SIZES | {"depth": 2}, max_length=32, pool="none"), augment=(mask,), next_sentence=True
    )  # fmt: skip
    measured, _, _ = learn(task, source, source, 300, peak=3e-3)
    assert measured["accuracy"] > 0.95
    assert measured["next_accuracy"] > 0.9


def test_translation_there_and_back(tmp_path):
    """Letters change places with one another, so that one run translates in both directions."""
    table = str.maketrans("abcdefgh", "badcfehg")
    texts = [word(least=3, most=6) for _ in range(600)]
    pairs = [{"one": text, "other": text.translate(table)} for text in texts]
    train, test = (
        Buckets(
            Translations(
                Listed(part), tokenizer=Bytes(), length=8, source_field="one", target_field="other", specials=True
            ),
            lengths=(6, 8),
        )
        for part in (pairs[:500], pairs[500:])
    )
    model = Seq2Seq(**SIZES, hidden=64, max_length=8, norm_first=True)
    measured, _, experiment = learn(
        SequenceToSequence(model=model, label_smoothing=0.1), train, test, 400, tmp_path / "run"
    )
    assert measured["accuracy"] > 0.95
    writer = Writer.of_run(open_run(tmp_path / "run", experiment))

    def translate(chosen):
        return [found[0] for found in writer.best(chosen, num_beams=2, max_new_tokens=8)]

    there = translate(texts[500:516])
    wanted = [text.translate(table) for text in texts[500:516]]
    assert chrf(there, wanted) > 85
    back = back_translate(texts[500:516], translate, translate)
    assert sum(a == b for a, b in zip(back, texts[500:516], strict=True)) > 8
    with pytest.raises(InputError, match="source: 9 tokens, but Seq2Seq has 8 positions"):
        translate(["a" * 7])
