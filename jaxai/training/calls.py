"""The compiled training step, one or several of them in a dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxai import forms
from jaxai.parallel import Layout
from jaxai.training.feed import Fed, Feed
from jaxai.training.step import Packed
from jaxai.training.traces import Traced

Step = Callable[[Any, Any], tuple[Any, Packed]]


class Taken(NamedTuple):
    """The data of a dispatch."""

    num_steps: int
    room: int
    """For how many steps there is room in its arrays."""
    fed: Fed


class Calls:
    """Takes steps, up to `most` in one dispatch: `state, packed = calls(state, calls.take(until))`.

    Where they `roll` they are a loop on the device: how many is a number that changes nothing compiled, and each has
    the bits that it has in any other dispatch. Else `most` are compiled one behind the other, and fewer taken one by
    one: convolutions are slow in a loop on CPU (jax issue 12868).
    """

    def __init__(
        self,
        step: Step,
        layout: Layout,
        feed: Feed,
        *,
        most: int = 1,
        rolls: bool = True,
        choice: forms.Forms = "fast",
        on_trace: Callable[[], None] = lambda: None,
    ):
        self._step, self._layout, self._feed = step, layout, feed
        self._most, self._rolls, self._on_trace = most, rolls, on_trace
        self._choice: forms.Forms = choice
        self._room = 1
        self._compiled: dict[int, Callable[..., Any]] = {}
        self.traced: dict[int, Traced] = {}
        """What was traced, by the number of steps that there is room for in a dispatch."""
        self.num_traces = 0
        """How often anything was traced, and then compiled."""

    @property
    def num_unrolled(self) -> int:
        """How many steps stand one behind the other in what the last dispatch compiled."""
        return 1 if self._rolls else self._room

    def last_trace(self, seconds: float) -> str:
        """What the last dispatch compiled, which took `seconds`, in words; and why, if not for the first time."""
        traced = self.traced[self._room]
        if len(traced.signatures) > 1:
            return f"recompiled, because {traced.last_change()}"
        several = f" {self._room} steps a dispatch" if self._room > 1 else ""
        return f"compiled{several} in {seconds:.1f} s"

    def take(self, until: int) -> Taken:
        """The data of the next dispatch, of at most `until` steps; waits for them."""
        num = min(until, self._most)
        if not self._rolls and num < self._most:
            num = 1
        room = self._most if num > 1 else 1
        return Taken(num, room, self._feed.take(num, room))

    def went_back(self, step: int) -> None:
        """Says that the next state is one after `step` steps; the data go on."""
        self._feed.went_back(step)

    def __call__(self, state: Any, taken: Taken) -> tuple[Any, Packed]:
        """The state after the steps of `taken`, and their metrics."""
        num, self._room, fed = taken
        if self._room not in self._compiled:
            self._compiled[self._room] = self._compile(self._room)
        shared = fed.shared if self._room == 1 else (np.int32(num), fed.shared)
        return self._compiled[self._room](state, shared, fed.cut)

    def _compile(self, room: int) -> Callable[..., Any]:

        def on_trace() -> None:
            self.num_traces += 1
            self._on_trace()

        self.traced[room] = Traced(self._one if room == 1 else self._several, on_trace)
        return forms.using(self._choice, self._layout.compile_step(self.traced[room], dim=int(room > 1)))

    def _one(self, state: Any, shared: Any, cut: Any) -> tuple[Any, Packed]:
        return self._step(state, self._feed.batch(Fed(shared, cut), 0, 1, state.step))

    def _several(self, state: Any, shared: Any, cut: Any) -> tuple[Any, Packed]:
        num, fed = shared[0], Fed(shared[1], cut)

        def step(number: Any, state: Any) -> tuple[Any, Packed]:
            return self._step(state, self._feed.batch(fed, number, self._most, state.step))

        if not self._rolls:
            vectors = []
            for number in range(self._most):
                state, packed = step(number, state)
                vectors.append(packed.vector)
            return state, Packed(jnp.stack(vectors), packed.structure)
        like: Packed = jax.eval_shape(step, 0, state)[1]

        def body(number: Any, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            state, packed = step(number, carry[0])
            return state, carry[1].at[number].set(packed.vector)

        # Of steps that are not taken the rows stay zero, which adds nothing to a sum.
        rows = jnp.zeros((self._most, *like.vector.shape), like.vector.dtype)
        state, rows = jax.lax.fori_loop(0, num, body, (state, rows))
        return state, Packed(rows, like.structure)


def has_convolutions(fn: Callable[..., Any], *args: Any) -> bool:
    """Whether `fn(*args)` convolves images anywhere."""
    return "conv_general_dilated" in str(jax.make_jaxpr(fn)(*args))
