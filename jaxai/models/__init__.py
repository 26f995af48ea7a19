"""Flax Linen models. A module is its own configuration; one architecture a file.

Each maps inputs to logits, `model.apply(variables, inputs, train)`; its last layer is called `head`. It computes in the
type of its inputs and parameters: cast both to bfloat16 and it computes in bfloat16. Dropout draws from
`rngs={"dropout": key}` when `train` is true.
"""

from jaxai.models.convnet import ConvNet
from jaxai.models.lenet import LeNet
from jaxai.models.mlp import MLP
from jaxai.models.softmax_regression import SoftmaxRegression

__all__ = ["MLP", "ConvNet", "LeNet", "SoftmaxRegression"]
