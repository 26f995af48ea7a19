import numpy as np
import pytest

from jaxai.log.report import Mistake, RunReport

HOSTILE = '<script>alert("x")</script><img src=http://127.0.0.1:9/x onerror=alert(1)>'


@pytest.fixture
def make_run():
    """A run that touches every part of a report, with hostile text wherever text can come from."""

    def make(name="digits_convnet", accuracy=0.98, learning_rate=1e-3):
        generator = np.random.default_rng(0)
        records = []
        for step in range(100, 1001, 100):
            loss = 2 * float(np.exp(-step / 300))
            records.append({"step": step, "split": "train", "loss": loss, "learning_rate": 1e-3, "seconds": step / 50})
            if step % 500 == 0:
                records.append(
                    {"step": step, "split": "test", "loss": loss + 0.1, "accuracy": accuracy, "seconds": 1.0}
                )
        classes = ["cat", HOSTILE, "$bird$"]
        mistakes = [
            Mistake(
                image=generator.integers(0, 256, (8, 8, channel), dtype=np.uint8),
                label="cat",
                prediction=HOSTILE,
                confidence=0.987,
                index=1234,
            )
            for channel in (1, 3)
        ]
        return RunReport(
            name=name,
            folder=f"runs/{name}",
            config={"optimizer": {"learning_rate": learning_rate}, "note": HOSTILE, "sizes": [32, 64], "empty": {}},
            environment={"jax": "0.10.2", HOSTILE: HOSTILE},
            results={"test": {"accuracy": accuracy, "loss": 1 - accuracy}, "parameters": 123456},
            records=records,
            confusions={"test": (np.array([[8, 1, 0], [0, 9, 0], [0, 2, 7]]), classes)},
            mistakes={
                "test": mistakes,
                "shifted": [Mistake(image=None, label="a", prediction="b", confidence=1, index=0)],
            },
            pictures={"test": {HOSTILE: generator.integers(0, 256, (2, 3, 5, 7, 1), dtype=np.uint8)}},
            experiment_source=f"# {HOSTILE}\n",
        )

    return make
