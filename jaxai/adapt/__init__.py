"""From one model to the next: published weights, transfer, probes of what an encoder has learned."""

from jaxai.adapt.active import Curves, active_learning
from jaxai.adapt.probe import Features, LinearProbe, Probed, features, knn, linear_probe, pixels, probe_run
from jaxai.adapt.recognise import Recognised, recognised, samples_recognised
from jaxai.adapt.weights import Loaded, Pretrained, load_pretrained, save_pretrained
from jaxai.training.initial import FromRun

__all__ = [
    "Curves", "Features", "FromRun", "LinearProbe", "Loaded", "Pretrained", "Probed", "Recognised",
    "active_learning", "features", "knn", "linear_probe", "load_pretrained", "pixels", "probe_run", "recognised",
    "samples_recognised", "save_pretrained",
]  # fmt: skip
