"""Questions: where the answer lies among the tokens, and the way back to its text; answers beyond the length."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from jaxai.core.errors import InputError
from jaxai.data.source import open_source
from jaxai.data.text import BPE, Buckets, Bytes, Questions, Trained, WordPiece
from jaxai.data.text.files import Listed
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

CLS, SEP, PAD = 259, 260, 256


def ask(question, context, answer):
    """An example, whose answer is the first such part of the context."""
    return {"question": question, "context": context, "answer": answer, "answer_start": context.index(answer)}


EXAMPLES = [ask("who?", "é is Bo.", "Bo"), ask("a", "bc", "bc")]


def opened(*examples, tokenizer=Bytes(), length=18, **fields):
    return open_source(Questions(Listed(examples), tokenizer=tokenizer, length=length, **fields), "train")


def test_rows():
    source = opened(*EXAMPLES)
    batch = source.batch(np.arange(2))
    assert batch["tokens"].tolist() == [
        [CLS, *b"who?", SEP, *"é is Bo.".encode(), SEP, *[PAD] * 2],
        [CLS, 97, SEP, 98, 99, SEP, *[PAD] * 12],
    ]
    assert batch["segments"].tolist() == [[1] * 16 + [0] * 2, [1] * 6 + [0] * 12]
    assert batch["types"].tolist() == [[0] * 6 + [1] * 10 + [0] * 2, [0] * 3 + [1] * 3 + [0] * 12]
    assert batch["context"].tolist() == [[0] * 6 + [1] * 9 + [0] * 3, [0] * 3 + [1] * 2 + [0] * 13]
    assert batch["start"].tolist() == [12, 3]
    assert batch["end"].tolist() == [13, 4]
    assert sorted(batch) == ["context", "end", "segments", "start", "tokens", "types"]


@pytest.mark.parametrize("name", ["bytes", "bpe", "bert_uncased"])
def test_the_way_back_gives_the_answers(name, tmp_path, monkeypatch):
    context = "In 1889, the naïve engineer G. Eiffel (東京) raised a tower of 300m; it's 🇩🇪-made."
    answers = [
        "In 1889",
        "1889",
        "naïve engineer",
        "東京",
        "a tower of 300m",
        "🇩🇪",
        "made",
    ]
    if name == "bpe":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        tokenizer = Trained(sources=(Listed([{"text": context}]),), vocab_size=290, kind="bpe")
    else:
        tokenizer = Bytes() if name == "bytes" else WordPiece(file=name)
    source = opened(*(ask("what?", context, answer) for answer in answers), tokenizer=tokenizer, length=160)
    batch = source.batch(np.arange(len(answers)))
    places = np.stack([batch["start"], batch["end"]], axis=1)
    assert source.texts(range(len(answers)), places) == source.answers == answers
    assert (np.take_along_axis(batch["context"], places, axis=1) == 1).all()


def test_an_answer_within_a_token_is_that_token():
    source = opened(ask("a", "unlimited", "limit"), tokenizer=WordPiece(file="bert_uncased"), length=8)
    row = source[0]
    assert row["start"] == row["end"] == 3
    assert source.texts([0], [(3, 3)]) == ["unlimited"]


def test_answers_beyond_the_length(caplog):
    examples = [ask("a", "0123456789", "01"), ask("a", "0123456789", "67"), ask("longer", "0123456789", "01")]
    assert len(opened(*examples, length=13)) == 3
    with pytest.raises(InputError) as error:
        opened(*examples, length=9)
    what = 'length: 2 of 3 examples have answers beyond 9 tokens (length=12, or beyond="leave_out")'
    assert str(error.value) == f"train.{what}"
    with caplog.at_level(logging.WARNING, "jaxai"):
        source = opened(examples[1], examples[0], length=9, beyond="leave_out")
    assert [record.getMessage() for record in caplog.records] == [
        "answer: 1 of 2 examples have answers beyond 9 tokens, left out"
    ]
    assert source.answers == ["01"]
    assert source[0]["tokens"].tolist() == [CLS, 97, SEP, *b"01234", SEP]
    assert source.texts([0], [(source[0]["start"], source[0]["end"])]) == ["01"]
    with pytest.raises(InputError, match="1 of 1 examples have answers beyond 9"):
        opened(examples[1], length=9, beyond="leave_out")
    # One token less and the last of the answer would be the mark at the end.
    assert opened(examples[1], length=12)[0]["end"] == 10
    with pytest.raises(InputError, match="length=12"):
        opened(examples[1], length=11)


def test_rows_may_be_cut_to_buckets():
    source = open_source(Buckets(Questions(Listed(EXAMPLES), tokenizer=Bytes(), length=18), lengths=(8, 18)))
    batch = source.cut(source.batch(np.array([1])), np.array([1]))
    assert batch["context"].tolist() == [[0, 0, 0, 1, 1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"answer_start": 2}, "source: example 1: the answer 'Bo' does not stand at character 2 of 'context'"),
        ({"answer_start": -3}, "source: example 1: the answer 'Bo' does not stand at character -3 of 'context'"),
        ({"answer_start": None}, "source: example 1 has no whole number 'answer_start'"),
        ({"answer": "", "answer_start": 0}, "source: example 1: the answer '' does not stand at character 0"),
        ({"question": ""}, "source: example 1: 'question' is empty (leave it out)"),
        ({"context": ""}, "source: example 1: 'context' is empty (leave it out)"),
        ({"context": 3}, "source: example 1 has int as 'context', not text"),
    ],
)
def test_what_is_refused(changed, message):
    with pytest.raises(InputError) as error:
        opened(EXAMPLES[1], EXAMPLES[0] | changed)
    assert str(error.value).startswith(f"train.{message}")


def test_what_the_tokenizer_does_not_have():
    with pytest.raises(InputError, match=r"train\.tokenizer: has no token 'cls'"):
        opened(*EXAMPLES, tokenizer=BPE(file="gpt2"))
    with pytest.raises(InputError, match=r"example 0: the answer ' ' has no token"):
        opened(ask("a", "b c", " "), tokenizer=WordPiece(file="bert_uncased"))


def test_a_declaration_is_a_value():
    declared = Questions(None, tokenizer=Bytes(), length=9, beyond="leave_out")
    assert from_json(to_json(declared)) == declared
