"""The block that all Transformers here are made of: attention, and what is done to each token alone.

One block serves encoders, decoders and both together, before or after its normalization, with learned or rotary
positions: BERT, GPT-2, Llama, the Transformer of 2017 and ViT differ in settings.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxai.models.attention import Attention, Dropout, Slots, dense
from jaxai.models.blocks import Remat, remat
from jaxai.models.layers import StochasticDepth

Act = Literal["gelu", "gelu_tanh", "relu", "swiglu"]


def gelu(x: jax.Array) -> jax.Array:
    """`x` times the share of the normal distribution below it (Hendrycks and Gimpel 2016).

    To 1e-6 `jax.nn.gelu(x, approximate=False)`, whose `erfc` takes twice as long on CPUs.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


class Norm(nn.Module):
    """Layer normalization (Ba et al. 2016), or by the root of the mean square alone (Zhang and Sennrich 2019)."""

    kind: Literal["layer", "rms"] = "layer"
    """Which."""
    epsilon: float = 1e-6
    """Added to the variance."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`x` [..., feature], normalized over its last axis."""
        # By name, so that its parameters are this module's own: norm/scale, not norm/LayerNorm_0/scale.
        make = nn.LayerNorm if self.kind == "layer" else nn.RMSNorm
        return make(epsilon=self.epsilon, parent=self.scope)(x)  # type: ignore[arg-type]


class FeedForward(nn.Module):
    """Two dense layers with an activation in between: what a Transformer does to each token by itself.

    `swiglu` gates one half of the first layer's outputs by the other (Shazeer 2020): the kernel of `dense1` is then
    [feature, 2, hidden], and the gate comes first.
    """

    hidden: int
    """Width in between."""
    activation: Act = "gelu"
    """In between; `gelu` is the exact one, `gelu_tanh` GPT-2's approximation."""
    use_bias: bool = True
    """Whether the dense layers add a bias."""
    dropout: float = 0.0
    """Share dropped after the activation in training."""
    kernel_init: Initializer = nn.initializers.lecun_normal()
    """How kernels start."""
    out_init: Initializer | None = None
    """How the second kernel starts; by default like the first."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Of the shape of `x` [..., feature]."""
        width = (2, self.hidden) if self.activation == "swiglu" else self.hidden
        y = dense(width, "dense1", use_bias=self.use_bias, kernel_init=self.kernel_init)(x)
        if self.activation == "swiglu":
            y = jax.nn.silu(y[..., 0, :]) * y[..., 1, :]
        elif self.activation == "relu":
            y = jax.nn.relu(y)
        else:
            # In float32, as half precision would be rounded after each of its operations.
            wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
            y = (jax.nn.gelu(wide) if self.activation == "gelu_tanh" else gelu(wide)).astype(y.dtype)
        y = Dropout(self.dropout, name="dropout")(y, train)
        out_init = self.out_init or self.kernel_init
        return dense(x.shape[-1], "dense2", use_bias=self.use_bias, kernel_init=out_init)(y)


class TransformerBlock(nn.Module):
    """Attention, where `cross` a look at another sequence, and a feed-forward: each with a shortcut around it."""

    num_heads: int
    """Heads of the attention."""
    hidden: int
    """Width inside the feed-forward."""
    num_kv_heads: int | None = None
    """Heads of keys and values; by default as many."""
    causal: bool = False
    """Whether a token looks only at itself and those before it."""
    cross: bool = False
    """Whether it also looks at `context`."""
    norm: Literal["layer", "rms"] = "layer"
    """How it normalizes: `norm1`, with `cross` `norm_cross`, and `norm2`."""
    norm_first: bool = True
    """Before each part ("pre-norm", GPT-2), or after its shortcut ("post-norm", BERT)."""
    epsilon: float = 1e-6
    """Of the normalizations."""
    activation: Act = "gelu"
    """In the feed-forward."""
    rotary: float | None = None
    """Base of rotary positions."""
    use_bias: bool = True
    """Whether the dense layers add a bias."""
    dropout: float = 0.0
    """Share dropped of what each part adds, in training."""
    attention_dropout: float = 0.0
    """Share of the attention's weights dropped in training."""
    hidden_dropout: float = 0.0
    """Share dropped inside the feed-forward in training."""
    drop: float = 0.0
    """Share of examples that skip each part in training."""
    kernel_init: Initializer = nn.initializers.lecun_normal()
    """How kernels start."""
    out_init: Initializer | None = None
    """How the kernels start whose outputs are added to a shortcut; by default like the others."""
    remat: Remat = "none"
    """What it computes again in the backward pass, for less memory: nothing, all, or all but its products."""

    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        mask: jax.Array | None = None,
        positions: jax.Array | None = None,
        slots: Slots | None = None,
        context: jax.Array | None = None,
        context_mask: jax.Array | None = None,
        drop: jax.Array | None = None,
    ) -> jax.Array:
        """Tokens [batch, length, feature], of the same shape; see `Attention` for the others.

        `drop` takes the place of the field where layers with rates of their own are one block (`scan`).
        """

        def inside(block: TransformerBlock, *arrays: Any) -> jax.Array:
            return block._inside(train, slots, *arrays)

        run = remat(inside, self.remat)
        return run(self, x, mask, positions, context, context_mask, drop)

    @nn.compact
    def _inside(
        self,
        train: bool,
        slots: Slots | None,
        x: jax.Array,
        mask: jax.Array | None,
        positions: jax.Array | None,
        context: jax.Array | None,
        context_mask: jax.Array | None,
        drop: jax.Array | None,
    ) -> jax.Array:
        settings: dict[str, Any] = {"use_bias": self.use_bias, "kernel_init": self.kernel_init}
        settings["out_init"] = self.out_init
        attend = Attention(
            self.num_heads,
            self.num_kv_heads,
            self.causal,
            self.rotary,
            dropout=self.attention_dropout,
            name="attention",
            **settings,
        )

        def add(x: jax.Array, norm: str, part: Any) -> jax.Array:
            normalize = Norm(self.norm, self.epsilon, name=norm)
            y = part(normalize(x) if self.norm_first else x)
            y = StochasticDepth(self.drop)(Dropout(self.dropout)(y, train), train, drop)
            return x + y if self.norm_first else normalize(x + y)

        x = add(x, "norm1", lambda y: attend(y, train, mask=mask, positions=positions, slots=slots))
        if self.cross:
            look = Attention(self.num_heads, dropout=self.attention_dropout, name="cross", **settings)
            x = add(x, "norm_cross", lambda y: look(y, train, mask=context_mask, context=context))
        feed = FeedForward(self.hidden, self.activation, dropout=self.hidden_dropout, name="mlp", **settings)
        return add(x, "norm2", lambda y: feed(y, train))
