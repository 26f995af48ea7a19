"""Text in, text out: pieces join to the whole, what stops a text is not in it, and what cannot be written is named."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxai
from jaxai import optim
from jaxai.core.errors import InputError
from jaxai.data.source import Arrays
from jaxai.data.text import Bytes
from jaxai.experiment import load
from jaxai.generation.command import pieces
from jaxai.generation.sampling import Sampling
from jaxai.generation.text import Writer, _settled
from jaxai.models import MLP
from jaxai.models.gpt2 import GPT2
from jaxai.models.seq2seq import Seq2Seq
from jaxai.tasks import Classification
from jaxai.training.saved import open_run

MODEL = GPT2(vocab_size=262, dim=16, depth=1, num_heads=2, max_length=40)
SAMPLING = Sampling(max_new_tokens=20)
#: Learned by heart in a minute by a few thousand parameters.
FILE = """
from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.text import Bytes, TextFiles, Windows
from jaxai.models.gpt2 import GPT2
from jaxai.tasks.language_model import LanguageModel


def get_config():
    source = Windows(TextFiles(files=("my.txt",), holdout=0), tokenizer=Bytes(), length=41)
    task = LanguageModel(model=GPT2(vocab_size=262, dim=32, depth=1, num_heads=2, max_length=40))
    return Experiment(task=task, train=Pipeline(source=source, batch_size=16), optimizer=optim.adam(1e-2),
                      duration=Steps(200), evaluate_every=None)
"""


class Letters:
    """A tokenizer of a, b and c, whose 0 is unknown."""

    vocab_size, unk, pad, bos, eos, cls, sep, mask = 4, 0, None, None, None, None, None, None

    def encode(self, text):
        return np.array([max("?abc".find(char), 0) for char in text], np.int32)

    def decode(self, ids):
        return "".join("?abc"[i] for i in ids)


@pytest.fixture(scope="module")
def writer():
    variables = jax.jit(MODEL.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    return Writer.of(MODEL, variables, Bytes().open())


@pytest.mark.slow
def test_pieces_join_to_what_is_written_at_once(writer):
    """Random bytes: most are no whole characters."""
    written = writer.write(["é", "b"], SAMPLING, seed=1, num_samples=2)
    assert [len(samples) for samples in written] == [2, 2]
    assert written[0][0] != written[0][1]
    assert "\ufffd" in written[0][0]
    parts = list(writer.stream("é", SAMPLING, seed=1, row=1))
    assert "".join(parts) == written[0][1]
    assert len(parts) > 1


@pytest.mark.slow
def test_a_text_ends_before_what_stops_it_and_none_of_it_is_said(writer):
    whole = "".join(writer.stream("b", SAMPLING, seed=2))
    stop = whole[7:10]
    parts = list(writer.stream("b", SAMPLING, seed=2, stop=(stop, "never there"), chunk=1))
    assert "".join(parts) == whole[: whole.find(stop)]


def test_what_further_tokens_may_change_is_held_back():
    assert _settled("abc\ufffd", ()) == 3
    assert _settled("abc", ("cde",)) == 2
    assert _settled("abc", ("x", "bcd", "c1")) == 1
    assert _settled("abc\n", ("\n\n",)) == 3
    assert _settled("abc", ("b",)) == 3, "found before, or not there"


@pytest.mark.slow
def test_the_text_ends_with_the_tokenizers_token(writer):
    eos = writer.tokenizer.eos
    variables = jax.tree.map(jnp.zeros_like, writer.generator.variables)
    # All tokens equally likely, but for the end of a text.
    table = variables["params"]["tokens"]["embedding"].at[eos].set(10.0)
    variables["params"]["tokens"]["embedding"] = table
    variables["params"]["norm"]["bias"] = jnp.ones(16)
    ended = Writer.of(MODEL, variables, writer.tokenizer)
    assert ended.write(["b"], Sampling(temperature=0, max_new_tokens=20)) == [[""]]
    assert ended.generator.generate([[98]], ended._until(SAMPLING))[0].tolist() == [eos]
    assert ended.best(["b"], num_beams=2, max_new_tokens=5)[0][0] == ""


def test_what_cannot_be_written(writer):
    with pytest.raises(InputError, match="prompt: is empty"):
        writer.write([""], SAMPLING)
    with pytest.raises(InputError, match="prompt: 30 tokens and 20 new ones, but GPT2 has 40 positions"):
        writer.write(["x" * 30], SAMPLING)
    with pytest.raises(InputError, match="tokenizer: has 4 tokens, the model 262"):
        Writer.of(MODEL, writer.generator.variables, Letters())
    small = MODEL.clone(vocab_size=4)
    letters = Writer.of(small, jax.eval_shape(small.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32)), Letters())
    assert letters.encode("cab").tolist() == [3, 1, 2]
    with pytest.raises(InputError, match="prompt: 'x' is unknown to the tokenizer"):
        letters.encode("abxy")
    assert writer.room("x" * 30, 128) == 10
    assert writer.room("x" * 30, 4) == 4
    assert writer.room("x" * 50, 128) == 1


@pytest.mark.slow
def test_an_encoder_decoder_writes_what_its_beams_find():
    model = Seq2Seq(vocab_size=262, dim=16, depth=1, num_heads=2, hidden=32, max_length=16)
    inputs = jnp.zeros((1, 2), jnp.int32)
    variables = jax.jit(model.init)(jax.random.key(0), inputs, inputs)
    writer = Writer.of(model, variables, Bytes().open())
    assert writer.is_encoder_decoder
    assert writer.ends == (258,)
    greedy = writer.write(["abc", "b"], Sampling(temperature=0, max_new_tokens=9))
    assert writer.best(["abc", "b"], num_beams=1, max_new_tokens=9) == greedy


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "my.txt").write_text("the quick brown fox jumps over a lazy dog; " * 30)
        (folder / "small.py").write_text(FILE)
        jaxai.train(load(folder / "small.py"), folder / "run", display="none")
        yield open_run(folder / "run", load(folder / "run" / "config.json"))


@pytest.mark.slow
def test_the_command_writes_what_the_run_has_learned(run):
    said = list(pieces(run, "the quick", temperature=0.0))
    assert said[0] == "the quick bro", "the first four tokens with it"
    whole = "the quick brown fox jumps over a lazy dog; "
    assert "".join(said) == whole[:40] + "\n", "as many tokens as there are positions"
    said = "".join(pieces(run, "quick b", temperature=0.1, max_new_tokens=8, num_samples=2))
    assert said == "quick brown fox\n---\nquick brown fox\n"
    assert "".join(pieces(run, "the quick", temperature=0.0, stop=("jum", "zy"))) == "the quick brown fox \n"
    other = "".join(pieces(run, "the quick", temperature=0.0, repetition_penalty=1e6))
    assert not other.startswith("the quick bro"), "' ' was there, so it is shunned"
    assert "".join(pieces(run, "quick b", beams=3, max_new_tokens=8)) == "quick brown fox\n"


@pytest.mark.slow
def test_what_the_command_refuses(run):
    with pytest.raises(InputError, match="--beams: searches among whole texts, where --top-k says nothing"):
        list(pieces(run, "a", beams=2, top_k=3))
    with pytest.raises(InputError, match="--beams: searches among whole texts, where --stop says nothing"):
        list(pieces(run, "a", beams=2, stop=("b",)))
    with pytest.raises(InputError, match="--stop: is empty"):
        list(pieces(run, "a", stop=("",)))
    with pytest.raises(InputError, match="--num-samples: must be at least 1, is 0"):
        list(pieces(run, "a", num_samples=0))
    with pytest.raises(InputError, match="--num-samples: 3 of 2 beams"):
        list(pieces(run, "a", beams=2, num_samples=3))
    with pytest.raises(InputError, match=r"sampling\.top_p: must be above 0"):
        list(pieces(run, "a", top_p=0.0))
    with pytest.raises(InputError, match="prompt: is empty"):
        list(pieces(run, ""))
    with pytest.raises(InputError, match="50 tokens and 1 new ones, but GPT2 has 40 positions"):
        next(pieces(run, "a" * 50))  # and not after it has printed the prompt


@pytest.mark.slow
def test_runs_that_write_nothing(tmp_path):
    def saved(task, source, name):
        pipeline = jaxai.Pipeline(source=source, batch_size=4)
        experiment = jaxai.Experiment(
            task=task,
            train=pipeline,
            optimizer=optim.sgd(0.1),
            duration=jaxai.Steps(1),
            evaluate_every=None,
        )
        jaxai.train(experiment, tmp_path / name, display="none")
        return open_run(tmp_path / name, experiment)

    images = Arrays({"image": np.zeros((8, 3), np.float32), "label": np.zeros(8, np.int32)})
    with pytest.raises(InputError, match="task: Classification of MLP is no language model"):
        Writer.of_run(saved(Classification(model=MLP(features=(4,), num_classes=2)), images, "mlp"))
    from jaxai.tasks.language_model import LanguageModel

    tokens = Arrays({"tokens": np.zeros((8, 5), np.int32)})
    with pytest.raises(InputError, match=r"train\.source: names no tokenizer"):
        Writer.of_run(saved(LanguageModel(model=MODEL), tokens, "tokens"))
