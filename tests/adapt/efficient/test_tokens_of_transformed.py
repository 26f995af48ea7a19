"""Prefixes and prompts of blocks within `nn.remat` and `nn.scan`, and of models that have none."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxai.adapt.efficient import Adapted, Prefix, Prompt
from jaxai.core import tree
from jaxai.core.errors import InputError
from jaxai.models.transformer import TransformerBlock
from jaxai.tasks import Classification
from tests.adapt.efficient.small import IMAGES, KEY, VIT, Classifier, adapted, learned

PROMPT, PREFIX = Prompt(rules=(("^block0/", 3),)), Prefix(rules=(("attention/", 3),))


class Transformed(nn.Module):
    """One block in `nn.remat`, or two in `nn.scan`."""

    scan: bool = False

    @nn.compact
    def __call__(self, inputs, train=False):
        x = inputs.reshape(len(inputs), 8, 8)
        if not self.scan:
            return jnp.mean(nn.remat(TransformerBlock, static_argnums=(2,))(2, 8, name="block0")(x, train), axis=1)
        once = nn.scan(
            lambda block, x, _: (block(x), None), variable_axes={"params": 0}, split_rngs={"params": True}, length=2
        )
        return jnp.mean(once(TransformerBlock(2, 8, name="block0"), x, None)[0], axis=1)


@pytest.mark.parametrize(
    ("model", "adapter", "message"),
    [
        (VIT, Prompt(rules=(("block2/", 2),)), "rule 'block2/' matches no parameter .nearest: block0/attention/qkv"),
        (VIT, Prefix(rules=(("mlp", 2),)), "rule 'mlp' matches no parameter"),
        (Classifier(), PREFIX, r"task.adapters.0.rules: the model has no jaxai.models.attention.Attention"),
        (Classifier(), PROMPT, r"task.adapters.0.rules: the model has no jaxai.models.transformer.TransformerBlock"),
        (Transformed(), PROMPT, r"block0 is transformed by flax as a whole.*\(TransformerBlock\(remat=.full.\)"),
        (Transformed(scan=True), PROMPT, "block0 is transformed by flax as a whole"),
        (
            VIT.clone(scan=True),
            Prompt(rules=(("^blocks/", 3),)),
            "blocks is transformed by flax as a whole.*scan=False",
        ),
    ],
)
def test_what_cannot_have_learned_tokens_is_refused(model, adapter, message):
    task = Adapted(task=Classification(model=model), adapters=(adapter,))
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: task.loss(task.init(KEY, IMAGES), IMAGES, KEY, False))


def test_a_prefix_of_scanned_blocks_is_that_of_each():
    """The same blocks one by one, each with its own keys and values."""
    task = Adapted(task=Classification(model=Transformed(scan=True)), adapters=(PREFIX,))
    variables = learned(task, IMAGES)
    params = variables["params"]
    whole = tree.join(params["base"], params["adapters"])["block0"]
    x = IMAGES["image"].reshape(4, 8, 8).astype(np.float32) / 255
    with nn.intercept_methods(PREFIX.interceptor()):
        for i in range(2):
            x = TransformerBlock(2, 8).apply({"params": jax.tree.map(lambda leaf, i=i: leaf[i], whole)}, x)
    np.testing.assert_allclose(adapted(task, variables, IMAGES), np.mean(x, axis=1), atol=1e-5)
