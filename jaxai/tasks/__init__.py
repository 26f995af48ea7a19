"""What is learned: pairs of pure functions, `init` and `loss`, that own their models."""

from jaxai.tasks.adversarial import Adversarial, Trades
from jaxai.tasks.autoencoder import DenoisingAutoencoder
from jaxai.tasks.byol import BYOL
from jaxai.tasks.calibrated import Calibrated
from jaxai.tasks.classification import Classification
from jaxai.tasks.contrastive import Contrastive
from jaxai.tasks.ctc import CTC
from jaxai.tasks.diffusion import Diffusion
from jaxai.tasks.distillation import Distill
from jaxai.tasks.ensemble import Ensemble
from jaxai.tasks.fixmatch import FixMatch
from jaxai.tasks.gan import GAN
from jaxai.tasks.language_model import LanguageModel
from jaxai.tasks.masked_autoencoder import MaskedAutoencoder
from jaxai.tasks.masked_language_model import MaskedLanguageModel
from jaxai.tasks.multitask import ClassificationHead, MultiTask, RegressionHead
from jaxai.tasks.question_answering import QuestionAnswering
from jaxai.tasks.ranking import Ranking
from jaxai.tasks.segmentation import Segmentation
from jaxai.tasks.sequence_to_sequence import SequenceToSequence
from jaxai.tasks.simclr import SimCLR
from jaxai.tasks.skip_gram import SkipGram
from jaxai.tasks.task import Out, Task
from jaxai.tasks.token_classification import TokenClassification
from jaxai.tasks.vae import VAE

__all__ = [
    "BYOL",
    "CTC",
    "GAN",
    "VAE",
    "Adversarial",
    "Calibrated",
    "Classification",
    "ClassificationHead",
    "Contrastive",
    "DenoisingAutoencoder",
    "Diffusion",
    "Distill",
    "Ensemble",
    "FixMatch",
    "LanguageModel",
    "MaskedAutoencoder",
    "MaskedLanguageModel",
    "MultiTask",
    "Out",
    "QuestionAnswering",
    "Ranking",
    "RegressionHead",
    "Segmentation",
    "SequenceToSequence",
    "SimCLR",
    "SkipGram",
    "Task",
    "TokenClassification",
    "Trades",
]
