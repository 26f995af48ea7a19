"""AlexNet (Krizhevsky, Sutskever and Hinton 2012), in the one-tower form of Krizhevsky 2014, arXiv:1404.5997."""

from __future__ import annotations

import flax.linen as nn
import jax

from jaxai.models.layers import adaptive_average_pool, check_image, flatten, overlapping_max_pool


class AlexNet(nn.Module):
    """AlexNet as torchvision has it: 61,100,840 parameters for 224 x 224 x 3 and 1,000 classes.

    Five convolutions and three dense layers with ReLU; maximum pools of 3 x 3 windows, every 2 pixels, after the first,
    second and last convolution. It follows "One weird trick for parallelizing convolutional neural networks": one
    tower, without the local response normalization and the split over two GPUs of 2012. Images of another size are
    averaged to 6 x 6 before the dense layers.

    Layers before ReLU start He normal (He et al. 2015), the logits LeCun normal, biases at zero. The paper starts from
    a standard deviation of 0.01 and some biases of one, with which signals shrink at every layer; PyTorch draws
    uniformly, with a sixth of He's variance.
    """

    num_classes: int = 1000
    """Logits an example; 0 gives the 4,096 features before them."""
    dropout: float = 0.5
    """Share of the inputs of each hidden dense layer dropped in training."""

    @nn.compact
    def __call__(self, inputs: jax.Array, train: bool = False) -> jax.Array:
        """Logits [batch, num_classes] of images [batch, height, width, channel]."""
        check_image(inputs, "AlexNet", smallest=63)
        he = nn.initializers.he_normal()
        convolutions = [(64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False)]
        x = inputs
        for i, (features, kernel, stride, padding, pool) in enumerate([*convolutions, (256, 3, 1, 1, True)], 1):
            name = f"conv{i}"
            x = nn.Conv(features, (kernel, kernel), stride, padding=padding, kernel_init=he, name=name)(x)
            x = nn.relu(x)
            x = overlapping_max_pool(x) if pool else x
        # Channels first, as published: the rows of the dense kernels are in that order.
        x = flatten(adaptive_average_pool(x, 6).transpose(0, 3, 1, 2))
        for i in (1, 2):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = nn.relu(nn.Dense(4096, kernel_init=he, name=f"dense{i}")(x))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
