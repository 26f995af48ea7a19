"""The declaration of an experiment: the value itself, and its ways in and out of files and the command line."""

from jaxai.experiment.declaration import Best, Checkpoints, EarlyStopping, Experiment, RollBack
from jaxai.experiment.load import load

__all__ = ["Best", "Checkpoints", "EarlyStopping", "Experiment", "RollBack", "load"]
