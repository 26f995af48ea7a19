"""The training of an experiment: `state`, `step`, `evaluate`, `checkpoint`, `loop`. Read them in this order."""
