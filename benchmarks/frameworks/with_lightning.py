"""Lightning's side: `Trainer.fit` with its bar, its CSV log and validation, of tensors in memory by a `DataLoader`."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from turns import LEARNING_RATE, Turns, Work, arguments

# Not installed where types are checked.
torch: Any = importlib.import_module("torch")
lightning: Any = importlib.import_module("lightning")


def main() -> None:
    words, work, turns, folder = arguments()
    torch.set_num_threads(1)
    module = Module(work.model, torch.channels_last if "channels_last" in words else torch.contiguous_format)
    turns.num_parameters = sum(parameter.numel() for parameter in module.parameters())
    turns.packages = ("lightning", "torch")
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        logger=importlib.import_module("lightning.pytorch.loggers").CSVLogger(folder),
        callbacks=[importlib.import_module("lightning.pytorch.callbacks").TQDMProgressBar(), Waiting(turns)],
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader(work, "train"), loader(work, "validation"))


def loader(work: Work, split: str) -> Any:
    images, labels = work.data(split)
    # Channels come first in PyTorch; there is one.
    images = torch.from_numpy(np.moveaxis(images, -1, 1).copy())
    data = torch.utils.data.TensorDataset(images, torch.from_numpy(labels).long())
    return torch.utils.data.DataLoader(data, batch_size=work.batch_size, shuffle=split == "train", num_workers=0)


def network(name: str) -> Any:
    nn = torch.nn
    if name == "perceptron":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


class Module(lightning.LightningModule):
    """A classifier that logs loss and accuracy."""

    def __init__(self, name: str, layout: Any):
        super().__init__()
        self._network, self._layout = network(name).to(memory_format=layout), layout

    def training_step(self, batch: Any) -> Any:
        loss, accuracy = self._measure(batch)
        self.log("loss", loss, prog_bar=True)
        self.log("accuracy", accuracy, prog_bar=True)
        return loss

    def validation_step(self, batch: Any) -> None:
        loss, accuracy = self._measure(batch)
        self.log("validation_loss", loss, prog_bar=True)
        self.log("validation_accuracy", accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), LEARNING_RATE)

    def _measure(self, batch: Any) -> tuple[Any, Any]:
        images, labels = batch
        logits = self._network((images.float() / 255).contiguous(memory_format=self._layout))
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return torch.nn.functional.cross_entropy(logits, labels), accuracy


class Waiting(lightning.Callback):
    """Holds each epoch until its turn."""

    def __init__(self, turns: Turns):
        self._turns = turns

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:  # noqa: ARG002 - called with it
        if trainer.current_epoch:
            self._turns.epoch_ended()


if __name__ == "__main__":
    main()
