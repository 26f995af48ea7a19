"""Bad text and models that do not suit it, at the command line: one line that names the field, and exit code 2."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from jaxai.cli import main
from tests.bad_input.cases import Case, case, check_line

PRELUDE = '''\
import numpy as np

from jaxai import Experiment, Pipeline, PMap, Steps, optim
from jaxai.data.source import Arrays
from jaxai.data.text import Buckets, Bytes, JsonLines, Questions, TaggedWords, TextFiles, Texts, Translations, Windows
from jaxai.data.text.masking import MaskTokens
from jaxai.models.bert import Bert
from jaxai.models.gpt2 import GPT2
from jaxai.models.llama import Llama
from jaxai.models.seq2seq import Seq2Seq
from jaxai.tasks import Classification
from jaxai.tasks.language_model import LanguageModel
from jaxai.tasks.masked_language_model import MaskedLanguageModel
from jaxai.tasks.question_answering import QuestionAnswering
from jaxai.tasks.sequence_to_sequence import SequenceToSequence
from jaxai.tasks.token_classification import TokenClassification

SIZES = dict(vocab_size=262, dim=8, depth=1, num_heads=2)


def tokens(place=0, token=0, num=24):
    """Rows of four, with one token that may be wrong."""
    array = np.zeros((num, 4), np.int32)
    array[place, 2] = token
    return Arrays({"tokens": array})


def lm(model=None):
    return LanguageModel(model=GPT2(**SIZES, max_length=16) if model is None else model)


def bert(**fields):
    return Bert(**{**SIZES, "max_length": 16, **fields})


def file(name="my.txt", length=16):
    return Windows(TextFiles(files=(name,)), tokenizer=Bytes(), length=length)


def lines(kind, **fields):
    return kind(JsonLines("my.jsonl"), tokenizer=Bytes(), **{"length": 16, **fields})


def experiment(source, task=None, **fields):
    train = Pipeline(source=source, batch_size=8, shuffle=False)
    base = dict(train=train, optimizer=optim.sgd(0.1), duration=Steps(4), evaluate_every=None)
    return Experiment(task=lm() if task is None else task, parallel=PMap(devices=1), **{**base, **fields})


'''

LINES = [
    {"text": "one two", "other": "uno", "label": 0, "words": ["one"], "tags": ["O"],
     "question": "which", "context": "one two", "answer": "two", "answer_start": 4},
] * 8  # fmt: skip

STARTS = [
    case("tokens(3, 262)", "train.tokens: token 2 of example 3 is 262", "vocabulary of 262", "at least 263"),
    case("tokens(3, -1)", "train.tokens: token 2 of example 3 is -1", "vocabulary of 262"),
    case(
        "file(), lm(GPT2(**{**SIZES, 'vocab_size': 100}, max_length=16))",
        "train.source.tokenizer: has 262 tokens, GPT2 a vocabulary of 100 (vocab_size=262",
    ),
    case(
        "Buckets(lines(Texts), lengths=(16,)),"
        "Classification(model=bert(num_classes=2, vocab_size=30522), inputs='tokens')",
        "train.source.tokenizer: has 262 tokens, Bert a vocabulary of 30,522 (vocab_size=262",
    ),
    case("file(length=18)", "GPT2 inputs: sequences of 17 tokens, but it has 16 positions", "at least 17"),
    case(
        "lines(Texts, length=17), Classification(model=bert(num_classes=2), inputs='tokens')",
        "Bert inputs: sequences of 17 tokens, but it has 16 positions (max_length of at least 17)",
    ),
    case(
        "lines(Translations, length=17, source_field='text', target_field='other'),"
        "SequenceToSequence(model=Seq2Seq(**SIZES, hidden=8, max_length=16))",
        "Seq2Seq",
        "sequences of 17 tokens, but it has 16 positions",
    ),
    case("file('empty.txt')", "train.source.source.files: empty.txt is empty"),
    case("file('none.txt')", "train.source.source.files: none.txt does not exist", "did you mean"),
    case("lines(Texts, field='none')", "train.source.source: example 0 has no 'none', not text"),
    case("Texts(JsonLines('void.jsonl'), tokenizer=Bytes(), length=9)", "train.source.source: example 1: 'text' is"),
    case("Texts(JsonLines('bad.jsonl'), tokenizer=Bytes(), length=9)", "train.source.source.file: bad.jsonl line 2 is"),
    case("Texts(JsonLines('list.jsonl'), tokenizer=Bytes(), length=9)", "train.source.source.file: list.jsonl line 1"),
    case("Texts(JsonLines('empty.txt'), tokenizer=Bytes(), length=9)", "train.source.source.file: empty.txt is empty"),
    case("lines(TaggedWords, classes=('A', 'B'))", "train.source.source: example 0: 'O' is none of the 2 classes"),
    case("lines(Questions, length=8)", "train.source.length: 8 of 8 examples have answers beyond 8", "length=15"),
    case(
        "lines(TaggedWords, classes=('O', 'B-X')), TokenClassification(model=bert(pool='none', num_classes=3),"
        "tags=('O', 'B-X'))",
        "train.task.tags: names 2 classes, the model has 3",
    ),
    case(
        "lines(Questions), QuestionAnswering(model=bert(pool='none', num_classes=3))",
        "train.task.model: gives [16, 3]",
        "needs [length, 2]",
    ),
    case(
        "lines(Texts), MaskedLanguageModel(encoder=bert(pool='none', vocab_size=150),"
        "augment=(MaskTokens(mask=3, vocab_size=262),))",
        "train.source.tokenizer: has 262",
        "vocabulary of 150",
    ),
]  # fmt: skip

#: Only found when the example is met.
LATER = [
    case("tokens(20, 262)", "train.tokens: token 2 of example 20 is 262", "vocabulary of 262"),
    case("tokens(20, 262), lm(Llama(**SIZES, hidden=8, num_kv_heads=1))", "train.tokens: token 2 of example 20 is 262"),
]


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """Runs a command in a folder with files of text; gives its exit code and what it wrote to standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("my.txt").write_text("the quick brown fox jumps over a lazy dog; " * 20)
    Path("empty.txt").write_text(" \n")
    Path("broken.txt").write_bytes(b"some \xff\xfe text \xc3" * 40)
    Path("my.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    Path("void.jsonl").write_text('{"text": "a"}\n{"text": ""}\n')
    Path("bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    Path("list.jsonl").write_text("[1]\n")

    def run(*arguments):
        capsys.readouterr()
        code = main(list(arguments))
        return code, capsys.readouterr().err

    return run


def train(command, fields):
    Path("bad.py").write_text(f"{PRELUDE}def get_config():\n    return experiment({fields})\n")
    return command("train", "bad.py", "--run", "run", "--display", "none")


@pytest.mark.slow
@pytest.mark.parametrize("bad", [*STARTS, *LATER], ids=str)
def test_what_cannot_be_trained_on(command, bad: Case):
    check_line(*train(command, bad.given), bad.says)
    assert not Path("run/results.json").exists()


@pytest.mark.slow
def test_invalid_utf8_is_replaced_and_said_once(command, caplog):
    with caplog.at_level(logging.WARNING, "jaxai"):
        assert train(command, "file('broken.txt')") == (0, "")
    told = [record.getMessage() for record in caplog.records if "UTF-8" in record.getMessage()]
    assert told == ["text: invalid UTF-8 in 108 places, replaced by U+FFFD"]  # of 36 of the 40 repetitions


@pytest.mark.slow
def test_prompts(command, capsys, caplog):
    """Longer than the positions, and so than the cache; empty; not UTF-8."""
    assert train(command, "file()")[0] == 0
    check_line(*command("generate", "run", "x" * 17), ("prompt: 17 tokens and 1 new ones, but GPT2 has 16 positions",))
    long = command("generate", "run", "abc", "--max-new-tokens", "20")
    check_line(*long, ("prompt: 3 tokens and 20 new ones, but GPT2 has 16 positions (max_new_tokens of at most 13)",))
    check_line(*command("generate", "run", ""), ("prompt: is empty",))
    with caplog.at_level(logging.WARNING, "jaxai"):
        assert main(["generate", "run", "a\udcff", "--max-new-tokens", "2"]) == 0
    assert capsys.readouterr().out.startswith("a\ufffd")
    assert "PROMPT: invalid UTF-8 in 1 places, replaced by U+FFFD" in caplog.text
