"""Length buckets: less padding, counted; every example once an epoch, from any position, in any number of processes."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from jaxai import Pipeline
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.data.text import EDA, Buckets, Bytes, Texts, Translations
from jaxai.data.text import buckets as bucket_module
from jaxai.experiment.json import decode as from_json
from jaxai.experiment.json import encode as to_json

LENGTHS = (4, 8, 16)


def texts(sizes, length=16):
    """Rows of so many tokens."""
    places = np.arange(length)
    used = places < np.array(sizes)[:, None]
    return Arrays({
        "tokens": np.where(used, 1 + places, 0), "segments": used.astype(np.int32), "label": np.arange(len(sizes)),
    })  # fmt: skip


def mixed(num, seed=0):
    return texts(np.random.default_rng(seed).integers(1, 17, num))


def reader(source, batch_size=8, lengths=LENGTHS, seed=0, **fields):
    return Pipeline(source=Buckets(source, lengths=lengths), batch_size=batch_size, **fields).open("train", seed=seed)


def padding(batches):
    """Places, and those of them that are padding."""
    segments = [batch["segments"] for batch in batches]
    return sum(x.size for x in segments), sum(int((x == 0).sum()) for x in segments)


def test_the_share_of_padding_falls():
    """Eight texts of each of 3, 7 and 15 tokens: each batch of eight holds one kind, cut to its bucket."""
    source = texts([3, 7, 15] * 8)
    bucketed = list(itertools.islice(reader(source).batches(), 30))
    assert {batch["tokens"].shape for batch in bucketed} == {(8, 4), (8, 8), (8, 16)}
    assert padding(bucketed) == (10 * 8 * 28, 10 * 8 * 3)
    plain = list(itertools.islice(Pipeline(source=source, batch_size=8).open("train").batches(), 30))
    assert padding(plain) == (30 * 8 * 16, 10 * 8 * (13 + 9 + 1))


@pytest.mark.parametrize(("num", "batch_size"), [(64, 8), (61, 8), (100, 7), (5, 8), (13, 8), (3, 16)])
def test_every_example_once_an_epoch(num, batch_size):
    source = mixed(num)
    epochs, wanted = 4, 4 * num
    batches = list(itertools.islice(reader(source, batch_size).batches(), -(-wanted // batch_size)))
    order = np.concatenate([batch["index"] for batch in batches])[:wanted].reshape(epochs, num)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(num), (epochs, 1)))
    if num > 20:
        assert (order[0] != order[1]).any()
    for batch in batches:
        longest = source.arrays["segments"].sum(axis=1)[batch["index"]].max()
        length = min(length for length in LENGTHS if length >= longest)
        for name in ("tokens", "segments"):
            np.testing.assert_array_equal(batch[name], source.arrays[name][batch["index"], :length])
        np.testing.assert_array_equal(batch["label"], batch["index"])


def test_whole_batches_hold_neighbours_in_length(monkeypatch):
    """Of one pool, sorted, a batch is a stretch: their lengths do not overlap. Between epochs one batch is mixed."""
    monkeypatch.setattr(bucket_module, "POOL", 1000)
    sizes = np.tile(np.arange(1, 17), 5)
    bucketed = reader(texts(sizes), batch_size=8, seed=1)
    ranges = sorted(
        (sizes[b["index"]].min(), sizes[b["index"]].max()) for b in itertools.islice(bucketed.batches(), 10)
    )
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(ranges))


def test_batches_come_in_a_random_order():
    first = [batch["tokens"].shape[1] for batch in itertools.islice(reader(mixed(400)).batches(), 50)]
    other = [batch["tokens"].shape[1] for batch in itertools.islice(reader(mixed(400), seed=1).batches(), 50)]
    assert first != sorted(first)
    assert first != other


@pytest.mark.parametrize("num", [64, 61])
def test_resumes_at_any_batch(num):
    whole = list(itertools.islice(reader(mixed(num)).batches(), 40))
    for number in (1, 7, 8, 20, 33):
        again = reader(mixed(num))
        for mine, theirs in zip(itertools.islice(again.batches(8 * number), 5), whole[number:], strict=False):
            assert mine.keys() == theirs.keys()
            for name, value in theirs.items():
                np.testing.assert_array_equal(mine[name], value)


@pytest.mark.parametrize("num", [64, 61])
def test_processes_share_batches_and_cut_alike(num):
    pipeline = Pipeline(source=Buckets(mixed(num), lengths=LENGTHS), batch_size=8)
    parts = [pipeline.open("train", process=process, num_processes=4) for process in range(4)]
    for number in range(20):
        whole = pipeline.open("train").batch(number)
        shares = [part.batch(number) for part in parts]
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), value)
    evaluations = [list(part.evaluation()) for part in parts]
    for whole, *shares in zip(pipeline.open("test").evaluation(), *evaluations, strict=True):
        for name, value in whole.items():
            np.testing.assert_array_equal(np.concatenate([share[name] for share in shares]), value)


def test_evaluations_keep_the_order_and_are_cut():
    source = texts([2] * 8 + [2, 9] * 4 + [6, 1, 5])
    batches = list(reader(source).evaluation())
    assert [batch["tokens"].shape for batch in batches] == [(8, 4), (8, 16), (8, 8)]
    assert np.concatenate([batch["index"] for batch in batches]).tolist() == [*range(19), *[18] * 5]
    assert np.concatenate([batch["mask"] for batch in batches]).tolist() == [1] * 19 + [0] * 5


def test_without_shuffling_the_order_is_kept():
    batches = list(itertools.islice(reader(mixed(20), shuffle=False).batches(), 5))
    assert np.concatenate([batch["index"] for batch in batches]).tolist() == [*range(20)] * 2


def test_a_step_is_compiled_once_a_length():
    traces = []

    @jax.jit
    def step(batch):
        traces.append(batch["tokens"].shape[1])
        return batch["tokens"].sum()

    for batch in itertools.islice(reader(mixed(400)).batches(), 100):
        step(batch)
    assert sorted(traces) == list(LENGTHS)


def test_both_texts_of_a_pair_count():
    pairs = [{"a": "x" * a, "b": "y" * b} for a, b in ((2, 2), (9, 1), (1, 9), (3, 5))]

    class Pairs:
        def __len__(self):
            return len(pairs)

        def __getitem__(self, index):
            return pairs[index]

    source = Translations(Pairs(), tokenizer=Bytes(), length=12, source_field="a", target_field="b")
    opened = Buckets(source, lengths=(4, 7, 12)).open()
    assert opened.sizes.tolist() == [4, 9, 11, 7]
    batch = next(Pipeline(source=Buckets(source, lengths=(4, 7, 12)), batch_size=1).open("t").evaluation())
    assert {name: value.shape for name, value in batch.items() if value.ndim > 1} == dict.fromkeys(
        ("tokens", "segments", "target_tokens", "target_segments"), (1, 4)
    )


class Two:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"text": "ab cd"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Buckets(texts([3]), lengths=()), "lengths: () do not ascend from 1 or more"),
        (lambda: Buckets(texts([3]), lengths=(8, 4)), "lengths: (8, 4) do not ascend"),
        (lambda: Buckets(texts([3]), lengths=(0, 4)), "lengths: (0, 4) do not ascend"),
        (
            lambda: Buckets(texts([3, 9]), lengths=(4, 8)).open(),
            "lengths: the longest text has 9 tokens, the last bucket",
        ),
        (lambda: Buckets(Arrays({"x": [1]}), lengths=(4,)).open(), "source: has no 'segments', only ['x']"),
        (
            lambda: Buckets(Texts(EDA(Two(), edits=("swap",)), tokenizer=Bytes(), length=9), lengths=(9,)).open(),
            "source: Rows is not rows in memory",
        ),
        (
            lambda: Pipeline(source=Buckets(texts([3]), lengths=(4,)), resident=True).open("train"),
            "train.resident: its batches are of one length (leave it at False)",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(message)


def test_a_declaration_is_a_value():
    declared = Buckets(Texts(None, tokenizer=Bytes(), length=9), lengths=(4, 9))
    assert from_json(to_json(declared)) == declared
    assert Buckets(Arrays(mixed(4).arrays, classes=("a",)), lengths=LENGTHS).open().classes == ("a",)
