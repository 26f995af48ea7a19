"""Keras' side, on JAX: `fit` with its bar, its CSV log and validation."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from turns import LEARNING_RATE, SHAPES, Turns, arguments

keras: Any = importlib.import_module("keras")  # not installed where types are checked


def main() -> None:
    _, work, turns, folder = arguments()
    network = model(work.model)
    turns.num_parameters, turns.packages = network.count_params(), ("keras", "jax")
    network.compile(
        optimizer=keras.optimizers.Adam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=work.steps_per_call,
    )
    network.fit(
        *work.data("train"),
        batch_size=work.batch_size,
        epochs=1_000_000_000,
        validation_data=work.data("validation"),
        validation_batch_size=work.batch_size,
        callbacks=[keras.callbacks.CSVLogger(f"{folder}/log.csv"), Waiting(turns)],
    )


def model(name: str) -> Any:
    layers = keras.layers
    if name == "perceptron":
        hidden = [layers.Flatten(), layers.Dense(32, activation="relu")]
    else:
        hidden = [
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
        ]
    inputs = keras.Input(SHAPES[name], dtype="uint8")
    return keras.Sequential([inputs, layers.Rescaling(1 / 255), *hidden, layers.Dense(10)])


class Waiting(keras.callbacks.Callback):
    """Holds each epoch until its turn."""

    def __init__(self, turns: Turns):
        super().__init__()
        self._turns = turns

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - called with it
        if epoch:
            assert "tensorflow" not in sys.modules, "the backend is to be JAX"
            self._turns.epoch_ended()


if __name__ == "__main__":
    main()
