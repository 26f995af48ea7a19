"""The models in PyTorch, written out plainly; by the settings of jaxai's, with as many parameters."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

torch: Any = importlib.import_module("torch")  # not installed where types are checked
nn: Any = torch.nn


def build(kind: str, settings: dict[str, Any], shape: tuple[int, ...]) -> Any:
    """The model for examples of `shape`: height, width, channels; or tokens."""
    models = {"convnet": convnet, "mlp": mlp, "resnet": resnet, "vit": ViT, "gpt": GPT, "bert": Bert, "lstm": LSTM}
    return models[kind](shape, **settings)


def convnet(shape: tuple[int, ...], features: Any, dense: Any, padding: str, pool_last: bool, num_classes: int) -> Any:
    """3 x 3 convolutions, each with ReLU and a pool; then dense layers."""
    height, width, channels = shape
    layers = []
    for i, (before, after) in enumerate(itertools.pairwise((channels, *features))):
        layers += [nn.Conv2d(before, after, 3, padding=padding.lower()), nn.ReLU(inplace=True)]
        if pool_last or i < len(features) - 1:
            layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    flat = nn.Sequential(*layers)(torch.zeros(1, channels, height, width)).shape[1]
    return nn.Sequential(*layers, *_dense((flat, *dense, num_classes)))


def mlp(shape: tuple[int, ...], features: Any, num_classes: int) -> Any:
    """Dense layers over all pixels."""
    height, width, channels = shape
    return nn.Sequential(nn.Flatten(), *_dense((height * width * channels, *features, num_classes)))


def _dense(widths: Any) -> list[Any]:
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return layers[:-1]


def resnet(shape: tuple[int, ...], stages: Any, block: str, stem: str, features: int, num_classes: int) -> Any:
    """As torchvision's, or with the stem for small images."""
    large = stem == "large"
    layers = [*_conv(shape[2], features, 7 if large else 3, 2 if large else 1), nn.ReLU(inplace=True)]
    if large:
        layers.append(nn.MaxPool2d(3, 2, 1))
    channels = features
    for stage, num_blocks in enumerate(stages):
        for i in range(num_blocks):
            inside = features * 2**stage
            after = 4 * inside if block == "bottleneck" else inside
            layers.append(Residual(channels, inside, after, block, 2 if stage and not i else 1))
            channels = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


class Residual(nn.Module):
    """Two or three convolutions and the shortcut around them."""

    def __init__(self, before: int, inside: int, after: int, kind: str, stride: int):
        super().__init__()
        windows = [(before, inside, 3, stride), (inside, after, 3, 1)]
        if kind == "bottleneck":
            windows = [(before, inside, 1, 1), (inside, inside, 3, stride), (inside, after, 1, 1)]
        layers = []
        for window in windows:
            layers += [*_conv(*window), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*layers[:-1])
        changes = stride > 1 or before != after
        self.shortcut = nn.Sequential(*_conv(before, after, 1, stride)) if changes else nn.Identity()

    def forward(self, x: Any) -> Any:
        return torch.relu(self.convolutions(x) + self.shortcut(x))


def _conv(before: int, after: int, size: int, stride: int) -> list[Any]:
    return [nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after)]


class Block(nn.Module):
    """Attention and a feed-forward, normalized before (GPT-2, ViT) or after each (BERT)."""

    def __init__(self, dim: int, num_heads: int, epsilon: float, *, gelu: str = "none", **order: bool):
        super().__init__()
        self.num_heads, self.order = num_heads, order
        self.norm1, self.norm2 = nn.LayerNorm(dim, epsilon), nn.LayerNorm(dim, epsilon)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(gelu), nn.Linear(4 * dim, dim))

    def attend(self, x: Any) -> Any:
        batch, length, dim = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind()
        causal = self.order.get("causal", False)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out(seen.transpose(1, 2).reshape(batch, length, dim))

    def forward(self, x: Any) -> Any:
        if self.order.get("norm_first", True):
            x = x + self.attend(self.norm1(x))
            return x + self.feed(self.norm2(x))
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self.feed(x))


class GPT(nn.Module):
    """GPT-2, whose output shares the table of tokens."""

    def __init__(self, _: Any, vocab_size: int, dim: int, depth: int, num_heads: int, max_length: int):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab_size, dim), nn.Embedding(max_length, dim)
        nn.init.normal_(self.tokens.weight, std=0.02)
        blocks = [Block(dim, num_heads, 1e-5, gelu="tanh", causal=True) for _ in range(depth)]
        self.blocks, self.norm = nn.Sequential(*blocks), nn.LayerNorm(dim, 1e-5)

    def forward(self, tokens: Any) -> Any:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return nn.functional.linear(self.norm(self.blocks(x)), self.tokens.weight)


class Bert(nn.Module):
    """BERT that classifies by the first token; without padding, so without a mask."""

    def __init__(self, _: Any, vocab_size: int, dim: int, depth: int, num_heads: int, num_classes: int):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, dim)
        self.positions, self.types = nn.Embedding(512, dim), nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim, 1e-12)
        self.blocks = nn.Sequential(*(Block(dim, num_heads, 1e-12, norm_first=False) for _ in range(depth)))
        self.pooler, self.head = nn.Linear(dim, dim), nn.Linear(dim, num_classes)

    def forward(self, tokens: Any) -> Any:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]] + self.types.weight[0]
        return self.head(torch.tanh(self.pooler(self.blocks(self.norm(x))[:, 0])))


class ViT(nn.Module):
    """A Vision Transformer with a class token."""

    def __init__(self, shape: Any, patch: int, dim: int, depth: int, num_heads: int, num_classes: int):
        super().__init__()
        height, width, channels = shape
        self.patches = nn.Conv2d(channels, dim, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.zeros(1, height // patch * (width // patch) + 1, dim))
        self.blocks = nn.Sequential(*(Block(dim, num_heads, 1e-6) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, num_classes)

    def forward(self, images: Any) -> Any:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x)[:, 0]))


class LSTM(nn.Module):
    """A recurrent language model."""

    def __init__(self, _: Any, vocab_size: int, dim: int, features: int, depth: int):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, dim)
        self.layers = nn.LSTM(dim, features, depth, batch_first=True)
        self.head = nn.Linear(features, vocab_size)
        # PyTorch adds two biases to each gate; jaxai, and the mathematics, have one.
        for name, bias in self.layers.named_parameters():
            if name.startswith("bias_hh"):
                bias.requires_grad_(False)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.layers(self.tokens(tokens))[0])
