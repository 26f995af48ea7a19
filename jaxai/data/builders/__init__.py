"""Builders of our own that write what `tfds.data_source` reads, without TensorFlow."""
