"""Speech to text: 20 minutes of one voice, the prompts of a telephone exchange, which are fetched on first use.

jaxai train experiments/prompts_ctc.py
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.audio import Transcribed
from jaxai.data.augment.speech import LogMel, MelNormalize, SpecAugment
from jaxai.data.text.tokenizers import Bytes
from jaxai.data.tfds import Tfds
from jaxai.models.speech import SpeechEncoder
from jaxai.tasks.ctc import CTC

RATE = 8000


def prompts(split: str) -> Transcribed:
    """Recordings of up to 5 s with what is said in them, as bytes."""
    return Transcribed(Tfds("asterisk_prompts", split=split), tokenizer=Bytes(), rate=RATE, seconds=(5.0,), length=96)


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=CTC(
            model=SpeechEncoder(dim=96, depth=3, dropout=0.1),
            augment=(
                LogMel(rate=RATE, window=256, hop=80, num_mels=40),
                MelNormalize(),
                SpecAugment(mel_width=8, time_width=20, time_share=0.2),
            ),
            blank=256,
            space=32,
        ),
        train=Pipeline(source=prompts("train"), batch_size=8),
        evals={"test": Pipeline(source=prompts("test"), batch_size=32)},
        optimizer=optim.adamw(optim.WarmupCosine(peak=4e-3, warmup=Epochs(4)), weight_decay=0.01, clip_norm=1.0),
        duration=Epochs(40),
        evaluate_every=Epochs(20),
    )
