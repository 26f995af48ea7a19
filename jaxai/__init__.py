"""jaxai: an experiment is a value; training is a pure function of it."""

__version__ = "0.1.0"
