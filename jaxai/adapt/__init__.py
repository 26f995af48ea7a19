"""From one model to the next: published weights, transfer, adapters, probes of what an encoder has learned."""

from jaxai.adapt.active import Curves, active_learning
from jaxai.adapt.efficient import (
    Adapted,
    Adapters,
    BaseFrom,
    Houlsby,
    Lora,
    Prefix,
    Prompt,
    extract,
    load_adapters,
    merge,
    save_adapters,
)
from jaxai.adapt.probe import Features, LinearProbe, Probed, features, knn, linear_probe, pixels, probe_run
from jaxai.adapt.recognise import Recognised, recognised, samples_recognised
from jaxai.adapt.weights import Loaded, Pretrained, load_pretrained, save_pretrained
from jaxai.training.initial import FromRun

__all__ = [
    "Adapted", "Adapters", "BaseFrom", "Curves", "Features", "FromRun", "Houlsby", "LinearProbe", "Loaded", "Lora",
    "Prefix", "Pretrained", "Probed", "Prompt", "Recognised", "active_learning", "extract", "features",
    "knn", "linear_probe", "load_adapters", "load_pretrained", "merge", "pixels", "probe_run", "recognised",
    "samples_recognised", "save_adapters", "save_pretrained",
]  # fmt: skip
