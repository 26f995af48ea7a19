"""How the gradient becomes an update: schedules and Optax chains, chosen by rules."""

from jaxai.optim.optimizer import Optimizer, adam, adamw, lion, muon, sgd
from jaxai.optim.schedules import Constant, Schedule, WarmupCosine, WarmupLinear, WarmupSteps

__all__ = [
    "Constant",
    "Optimizer",
    "Schedule",
    "WarmupCosine",
    "WarmupLinear",
    "WarmupSteps",
    "adam",
    "adamw",
    "lion",
    "muon",
    "sgd",
]
