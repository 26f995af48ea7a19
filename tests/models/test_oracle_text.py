"""Models of text against transformers' and PyTorch's: logits and gradients with the same weights, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.weights import load_pretrained, to_published
from jaxai.models.bert import Bert, albert
from jaxai.models.gpt2 import GPT2
from jaxai.models.llama import Llama
from jaxai.models.recurrent import Recurrent
from jaxai.models.seq2seq import Seq2Seq

pytestmark = pytest.mark.oracle

VOCAB, LENGTH = 50, 9
SMALL = {"vocab_size": VOCAB, "dim": 24, "depth": 2, "num_heads": 4}
THEIRS = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, VOCAB, (3, LENGTH)).astype(np.int32)
#: Two texts end in padding.
VALID = np.arange(LENGTH)[None] < np.array([9, 6, 4])[:, None]
TYPES = (np.arange(LENGTH)[None] >= np.array([[5], [3], [2]])).astype(np.int32)

#: Texts of three rows, in tokens, and the numbers of them, of which 0 is padding.
RUNS = ((9,), (3, 4, 2), (2, 3, 3, 1))
SEGMENTS = np.stack(
    [np.repeat(numbers, lengths) for numbers, lengths in zip(((1,), (0, 1, 2), (1, 2, 3, 0)), RUNS, strict=True)]
).astype(np.int32)


def config(name: str, **settings: Any) -> Any:
    from tests.oracle import transformers

    return getattr(transformers, name)(attn_implementation="eager", **settings)


def network(name: str, settings: Any) -> Any:
    """Theirs with random weights, biases and norms too, in float64 and without dropout."""
    import torch

    from tests.oracle import transformers

    torch.manual_seed(0)
    made = getattr(transformers, name)(settings).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def bert_like(kind: str, model: Bert, **settings: Any) -> tuple[Any, Any, Any, Any]:
    made = config(f"{kind}Config", **THEIRS, intermediate_size=96, max_position_embeddings=12, **settings)
    theirs = network(f"{kind}Model", made)

    def run(torch: Any) -> Any:
        given = {"attention_mask": VALID.astype(np.int64), "token_type_ids": TYPES.astype(np.int64)}
        given = {key: torch.from_numpy(value) for key, value in given.items()}
        out = theirs(input_ids=torch.from_numpy(TOKENS.astype(np.int64)), **given)
        return out.pooler_output

    def ours(variables: Any, train: bool) -> Any:
        return model.apply(variables, TOKENS, train=train, segments=VALID.astype(np.int32), types=TYPES)

    return model, theirs, run, ours


def decoder(name: str, model: Any, settings: Any, packed: bool = False) -> tuple[Any, Any, Any, Any]:
    """`packed` rows hold several texts, and padding at either end; what comes of that is left out."""
    theirs = network(name, settings)
    segments = SEGMENTS if packed else np.ones_like(TOKENS)
    places = np.stack([np.concatenate([np.arange(n) for n in lengths]) for lengths in RUNS]) if packed else None
    sees = (segments[:, :, None] == segments[:, None]) & (segments > 0)[:, None] & np.tri(LENGTH, dtype=bool)

    def run(torch: Any) -> Any:
        given = {"input_ids": TOKENS.astype(np.int64)}
        given |= {"attention_mask": np.where(sees, 0.0, -1e9)[:, None], "position_ids": places} if packed else {}
        logits = theirs(**{key: torch.from_numpy(value) for key, value in given.items()}, use_cache=False).logits
        return logits * torch.from_numpy(segments > 0)[:, :, None]

    def ours(variables: Any, train: bool) -> Any:
        further = {"segments": segments, "positions": places} if packed else {}
        return model.apply(variables, TOKENS, train=train, **further) * (segments > 0)[:, :, None]

    return model, theirs, run, ours


LLAMA = {**THEIRS, "intermediate_size": 40, "max_position_embeddings": 16, "rms_norm_eps": 1e-5}
CASES = {
    "bert": lambda: bert_like("Bert", Bert(**SMALL, max_length=12)),
    "albert": lambda: bert_like("Albert", albert(**SMALL, embedding_dim=8, max_length=12), embedding_size=8),
    "gpt2": lambda: decoder(
        "GPT2LMHeadModel",
        GPT2(**SMALL, max_length=16),
        config("GPT2Config", vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=4, n_positions=16),
    ),
    "gpt2 of packed texts": lambda: decoder(
        "GPT2LMHeadModel",
        GPT2(**SMALL, max_length=16),
        config("GPT2Config", vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=4, n_positions=16),
        packed=True,
    ),
    "llama": lambda: decoder("LlamaForCausalLM", Llama(**SMALL, hidden=40), config("LlamaConfig", **LLAMA)),
    "llama, grouped queries": lambda: decoder(
        "LlamaForCausalLM",
        Llama(**SMALL, hidden=40, num_kv_heads=2, rotary=5e5),
        config("LlamaConfig", **LLAMA, num_key_value_heads=2, rope_theta=5e5),
    ),
    "llama of packed texts": lambda: decoder(
        "LlamaForCausalLM",
        Llama(**SMALL, hidden=40, num_kv_heads=2),
        config("LlamaConfig", **LLAMA, num_key_value_heads=2),
        packed=True,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Ours and theirs with the same weights: logits and the gradients of a weighted sum of them."""
    import torch

    with jax.enable_x64(True):
        model, theirs, run, ours = CASES[request.param]()
        for parameter in theirs.parameters():  # what float32 holds, as files do
            parameter.data = parameter.data.float().double()
        arrays = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
        variables, layout = load_in_float64(model, arrays)
        out = run(torch)
        weights = np.random.default_rng(1).standard_normal(out.shape)
        (out * torch.from_numpy(weights)).sum().backward()
        grads = {name: value.grad.numpy() for name, value in theirs.named_parameters() if value.grad is not None}
        yield model, layout, variables, ours, out.detach().numpy(), weights, grads


def load_in_float64(model, theirs):
    """The weights as `load_pretrained` gives them, and back bit for bit; here they come in the type of the file."""
    loaded = load_pretrained(model, theirs)
    variables = jax.tree.map(lambda leaf: leaf.astype(np.float64), loaded.variables)
    for name, value in to_published(model, variables, layout=loaded.layout).items():
        np.testing.assert_array_equal(value, theirs[name])
    return variables, loaded.layout


@pytest.mark.parametrize("train", [False, True])
def test_logits_and_gradients_are_transformers(case, train):
    model, layout, variables, ours, expected, weights, grads = case
    with jax.enable_x64(True):
        logits = ours(variables, train)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)  # attention weighs in float32
        mine = jax.grad(lambda params: jnp.sum(ours({"params": params}, train) * weights))(variables["params"])
        found = to_published(model, {"params": mine}, layout=layout)
    assert found.keys() == grads.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, grads[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_rotary_positions_of_an_encoder_are_roformers():
    """Features and gradients; of its features each pair that is turned stands together, of ours in two halves."""
    import torch

    settings = {**THEIRS, "intermediate_size": 96, "max_position_embeddings": 12}
    theirs = network("RoFormerModel", config("RoFormerConfig", **settings))
    theirs.encoder.embed_positions.weight.data = theirs.encoder.embed_positions.create_weight().double()
    given = {"attention_mask": VALID.astype(np.int64), "token_type_ids": TYPES.astype(np.int64)}
    given = {key: torch.from_numpy(value) for key, value in given.items()}
    out = theirs(input_ids=torch.from_numpy(TOKENS.astype(np.int64)), **given).last_hidden_state
    weights = np.random.default_rng(1).standard_normal(out.shape) * VALID[:, :, None]
    (out * torch.from_numpy(weights)).sum().backward()
    halves = np.concatenate([6 * head + np.r_[0:6:2, 1:6:2] for head in range(4)])

    def in_halves(name: str, value: Any) -> np.ndarray:
        return value.detach().numpy()[halves] if ".query." in name or ".key." in name else value.detach().numpy()

    learned = {name: value for name, value in theirs.named_parameters() if value.grad is not None}
    with jax.enable_x64(True):
        model = Bert(**SMALL, max_length=12, rotary=1e4, pool="none")
        loaded = load_pretrained(model, {name: in_halves(name, value) for name, value in learned.items()})

        def ours(params: Any) -> jax.Array:
            x = model.apply({"params": params}, TOKENS, segments=VALID.astype(np.int32), types=TYPES)
            return x * VALID[:, :, None]

        params = jax.tree.map(lambda leaf: leaf.astype(np.float64), loaded.variables["params"])
        np.testing.assert_allclose(ours(params), out.detach().numpy() * VALID[:, :, None], rtol=1e-4, atol=1e-5)
        grads = jax.grad(lambda params: jnp.sum(ours(params) * weights))(params)
        found = to_published(model, {"params": grads}, layout=loaded.layout)
    assert found.keys() == learned.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, in_halves(name, learned[name].grad), rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_recurrent_layers_are_pytorchs(cell, reverse):
    import torch

    x = RNG.standard_normal((3, LENGTH, 5))
    torch.manual_seed(0)
    kind = torch.nn.LSTM if cell == "lstm" else torch.nn.GRU
    theirs = kind(5, 6, batch_first=True, bidirectional=True).double()
    suffix = "_reverse" if reverse else ""
    part = {name: getattr(theirs, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    given = torch.from_numpy(x).requires_grad_()
    packed = torch.nn.utils.rnn.pack_padded_sequence(given, VALID.sum(1).tolist(), batch_first=True)
    out = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]
    expected = out[..., 6:] if reverse else out[..., :6]
    weights = RNG.standard_normal(expected.shape) * VALID[:, :, None]
    (expected * torch.from_numpy(weights)).sum().backward()

    numbers = {name: value.detach().numpy() for name, value in part.items()}
    bias = numbers["bias_ih"] + (numbers["bias_hh"] if cell == "lstm" else 0)
    params = {"inputs": {"kernel": numbers["weight_ih"].T, "bias": bias}, "state": {"kernel": numbers["weight_hh"].T}}
    if cell == "gru":
        params["state"]["bias"] = numbers["bias_hh"]
    model = Recurrent(6, cell, reverse)
    with jax.enable_x64(True):
        run = lambda params, x: model.apply({"params": params}, x, VALID)  # noqa: E731
        outputs = np.where(VALID[:, :, None], run(params, x), 0)
        np.testing.assert_allclose(outputs, expected.detach().numpy(), atol=1e-12)
        grads, dx = jax.grad(lambda p, x: jnp.sum(run(p, x) * weights), argnums=(0, 1))(params, x)
    np.testing.assert_allclose(grads["inputs"]["kernel"], part["weight_ih"].grad.numpy().T, atol=1e-12)
    np.testing.assert_allclose(grads["state"]["kernel"], part["weight_hh"].grad.numpy().T, atol=1e-12)
    np.testing.assert_allclose(grads["inputs"]["bias"], part["bias_ih"].grad.numpy(), atol=1e-12)
    if cell == "gru":
        np.testing.assert_allclose(grads["state"]["bias"], part["bias_hh"].grad.numpy(), atol=1e-12)
    np.testing.assert_allclose(dx, given.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_transformer_of_2017_is_pytorchs(norm_first):
    """`torch.nn.Transformer` after a table multiplied by the root of its width, with sines, before the same table."""
    import torch

    from jaxai.models.attention import sinusoids

    torch.manual_seed(0)
    theirs = torch.nn.Transformer(24, 4, 2, 2, 40, dropout=0.0, batch_first=True, norm_first=norm_first).double().eval()
    if not norm_first:  # the paper, and ours, then normalize after each part only; PyTorch also at the ends
        theirs.encoder.norm = theirs.decoder.norm = None
    table = torch.randn(VOCAB, 24).double().requires_grad_()
    target = RNG.integers(1, VOCAB, (3, 7)).astype(np.int64)

    def look_up(tokens):
        tokens = torch.from_numpy(tokens.astype(np.int64))
        return table[tokens] * 24**0.5 + torch.from_numpy(sinusoids(tokens.shape[1], 24)).double()

    padding = torch.from_numpy(~VALID)
    causal = torch.nn.Transformer.generate_square_subsequent_mask(7).double()
    hidden = theirs(
        look_up(TOKENS),
        look_up(target),
        tgt_mask=causal,
        src_key_padding_mask=padding,
        memory_key_padding_mask=padding,
    )
    expected = hidden @ table.T
    weights = RNG.standard_normal(expected.shape)
    (expected * torch.from_numpy(weights)).sum().backward()

    model = Seq2Seq(vocab_size=VOCAB, dim=24, depth=2, num_heads=4, hidden=40, norm_first=norm_first, dropout=0.0)
    with jax.enable_x64(True):
        params = {"tokens": {"embedding": jnp.asarray(table.detach().numpy())}, **stacks(theirs, lambda p: p.detach())}
        segments = VALID.astype(np.int32)
        run = lambda p: model.apply({"params": p}, TOKENS, target, segments=segments)  # noqa: E731
        np.testing.assert_allclose(run(params), expected.detach().numpy(), rtol=1e-6, atol=1e-6)
        grads = jax.grad(lambda p: jnp.sum(run(p) * weights))(params)
    expected_grads = {"tokens": {"embedding": table.grad.numpy()}, **stacks(theirs, lambda p: p.grad)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), grads, expected_grads)


def stacks(theirs, take):
    """Encoder and decoder of `torch.nn.Transformer` as ours; `take` gives of a parameter what is wanted."""

    def dense(weight, bias):
        return {"kernel": take(weight).numpy().T, "bias": take(bias).numpy()}

    def parted(layer, num):
        return {name: value.reshape(*value.shape[:-1], num, -1) for name, value in layer.items()}

    def layer(module):
        return dense(module.weight, module.bias)

    def norm(module):
        return {"scale": take(module.weight).numpy(), "bias": take(module.bias).numpy()}

    def block(module, is_decoder):
        attention = module.self_attn
        made = {
            "attention": {
                "qkv": parted(dense(attention.in_proj_weight, attention.in_proj_bias), 3),
                "out": layer(attention.out_proj),
            },
            "norm1": norm(module.norm1),
            "mlp": {"dense1": layer(module.linear1), "dense2": layer(module.linear2)},
            "norm2": norm(module.norm3 if is_decoder else module.norm2),
        }
        if is_decoder:
            cross = module.multihead_attn
            both = dense(cross.in_proj_weight, cross.in_proj_bias)
            made["cross"] = {
                "query": {name: value[..., :24] for name, value in both.items()},
                "kv": parted({name: value[..., 24:] for name, value in both.items()}, 2),
                "out": layer(cross.out_proj),
            }
            made["norm_cross"] = norm(module.norm2)
        return made

    parts = {"encoder": (theirs.encoder, False), "decoder": (theirs.decoder, True)}
    return {
        name: {f"block{i}": block(module, is_decoder) for i, module in enumerate(stack.layers)}
        | ({} if stack.norm is None else {"norm": norm(stack.norm)})
        for name, (stack, is_decoder) in parts.items()
    }
