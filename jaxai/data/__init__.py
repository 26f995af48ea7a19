"""Where examples come from and how they reach the device: sources, pipelines, augmentation, text."""
