"""Everything a run shows or writes about itself; knows only host values, never JAX."""

from jaxai.log.display import Display, NullDisplay, PlainDisplay, RichDisplay, make_display
from jaxai.log.jsonl import JsonlWriter, read_confusions, read_jsonl
from jaxai.log.report import Mistake, RunReport
from jaxai.log.tensorboard import TensorBoardWriter
from jaxai.log.wandb_writer import WandbWriter
from jaxai.log.writer import Writer

__all__ = [
    "Display",
    "JsonlWriter",
    "Mistake",
    "NullDisplay",
    "PlainDisplay",
    "RichDisplay",
    "RunReport",
    "TensorBoardWriter",
    "WandbWriter",
    "Writer",
    "make_display",
    "read_confusions",
    "read_jsonl",
]
