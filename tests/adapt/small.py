"""A small experiment file of real data."""

FILE = """
from jaxai import Experiment, Pipeline, Steps, optim
from jaxai.data.tfds import Tfds
from jaxai.models import MLP
from jaxai.tasks import Classification


def get_config():
    def pipeline(split):
        return Pipeline(source=Tfds(name="digits", split=split), batch_size=50, cache=True)

    task = Classification(model=MLP(features=(32,)))
    return Experiment(task=task, train=pipeline("train[:300]"), evals={"test": pipeline("test[:200]")},
                      optimizer=optim.adam(1e-2), duration=Steps(60))
"""
