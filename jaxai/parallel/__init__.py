"""Where arrays live and what is compiled: the only room that knows about devices."""

from jaxai.parallel.gather import gather, own_rows
from jaxai.parallel.layout import Layout, Parallel
from jaxai.parallel.mesh import GATHERED, Mesh
from jaxai.parallel.pmap import PMap

__all__ = ["GATHERED", "Layout", "Mesh", "PMap", "Parallel", "gather", "own_rows"]
