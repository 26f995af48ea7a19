"""What a language model writes: sampling, beam search, text."""

from jaxai.generation.beam import Beams, beam_search
from jaxai.generation.generator import Generator, generate
from jaxai.generation.sampling import Sampling
from jaxai.generation.text import Writer, generate_text

__all__ = ["Beams", "Generator", "Sampling", "Writer", "beam_search", "generate", "generate_text"]
