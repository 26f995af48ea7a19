"""Flax Linen models. A module is its own configuration; one architecture a file.

Each maps inputs to logits, `model.apply(variables, inputs, train)`; its last layer is called `head`. It computes in the
type of its inputs and parameters: cast both to bfloat16 and it computes in bfloat16. Dropout draws from
`rngs={"dropout": key}` when `train` is true. `model.clone(num_classes=0)` is the encoder: it has no head and gives the
features that the head would see. Decoders, generators and discriminators say in their own docstrings what they map.
"""

from jaxai.models.airbench import Airbench
from jaxai.models.alexnet import AlexNet
from jaxai.models.autoencoders import ConvDecoder, DenseDecoder, MaskedDecoder
from jaxai.models.bert import Bert, albert, bert, minilm
from jaxai.models.clip import DualEncoder, TextEncoder
from jaxai.models.convnet import ConvNet
from jaxai.models.convnext import ConvNeXt
from jaxai.models.gan import Discriminator, Generator
from jaxai.models.googlenet import GoogLeNet
from jaxai.models.gpt2 import GPT2, gpt2
from jaxai.models.inception_v3 import InceptionV3
from jaxai.models.lenet import LeNet
from jaxai.models.llama import Llama
from jaxai.models.mlp import MLP
from jaxai.models.mobilenet_v2 import MobileNetV2
from jaxai.models.probe import Probe
from jaxai.models.projector import Projector
from jaxai.models.recurrent import RecurrentEncoder
from jaxai.models.resnet import ResNet
from jaxai.models.seq2seq import Seq2Seq
from jaxai.models.softmax_regression import SoftmaxRegression
from jaxai.models.speech import SpeechEncoder
from jaxai.models.textcnn import TextCNN
from jaxai.models.two_tower import TwoTower
from jaxai.models.unet import UNet
from jaxai.models.vit import ViT
from jaxai.models.word2vec import Word2Vec

__all__ = [
    "GPT2",
    "MLP",
    "Airbench",
    "AlexNet",
    "Bert",
    "ConvDecoder",
    "ConvNeXt",
    "ConvNet",
    "DenseDecoder",
    "Discriminator",
    "DualEncoder",
    "Generator",
    "GoogLeNet",
    "InceptionV3",
    "LeNet",
    "Llama",
    "MaskedDecoder",
    "MobileNetV2",
    "Probe",
    "Projector",
    "RecurrentEncoder",
    "ResNet",
    "Seq2Seq",
    "SoftmaxRegression",
    "SpeechEncoder",
    "TextCNN",
    "TextEncoder",
    "TwoTower",
    "UNet",
    "ViT",
    "Word2Vec",
    "albert",
    "bert",
    "gpt2",
    "minilm",
]
