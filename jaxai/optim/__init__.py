"""How the gradient becomes an update: schedules and Optax chains, chosen by rules."""

from jaxai.optim.grouped import Grouped
from jaxai.optim.optimizer import Optimizer, adam, adamw, lamb, lars, lion, muon, sgd
from jaxai.optim.schedules import After, Constant, Schedule, WarmupCosine, WarmupLinear, WarmupSteps

__all__ = [
    "After",
    "Constant",
    "Grouped",
    "Optimizer",
    "Schedule",
    "WarmupCosine",
    "WarmupLinear",
    "WarmupSteps",
    "adam",
    "adamw",
    "lamb",
    "lars",
    "lion",
    "muon",
    "sgd",
]
