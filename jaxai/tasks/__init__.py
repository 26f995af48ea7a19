"""What is learned: pairs of pure functions, `init` and `loss`, that own their models."""

from jaxai.tasks.adversarial import Adversarial, Trades
from jaxai.tasks.autoencoder import DenoisingAutoencoder
from jaxai.tasks.byol import BYOL
from jaxai.tasks.calibrated import Calibrated
from jaxai.tasks.classification import Classification
from jaxai.tasks.diffusion import Diffusion
from jaxai.tasks.ensemble import Ensemble
from jaxai.tasks.fixmatch import FixMatch
from jaxai.tasks.gan import GAN
from jaxai.tasks.masked_autoencoder import MaskedAutoencoder
from jaxai.tasks.multitask import ClassificationHead, MultiTask, RegressionHead
from jaxai.tasks.segmentation import Segmentation
from jaxai.tasks.simclr import SimCLR
from jaxai.tasks.task import Out, Task
from jaxai.tasks.vae import VAE

__all__ = [
    "BYOL",
    "GAN",
    "VAE",
    "Adversarial",
    "Calibrated",
    "Classification",
    "ClassificationHead",
    "DenoisingAutoencoder",
    "Diffusion",
    "Ensemble",
    "FixMatch",
    "MaskedAutoencoder",
    "MultiTask",
    "Out",
    "RegressionHead",
    "Segmentation",
    "SimCLR",
    "Task",
    "Trades",
]
