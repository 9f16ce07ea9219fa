"""What a step has done so far, saved in its scratch folder, so that a killed run goes on from there.

A step has parts, such as a pass over the calibration frames. Each has one file, sealed with this user's secret and
with what it belongs to: a stranger's file, or one of another variant, counts as absent.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from bench import seals, stored
from bench.files import sweep, write_atomically

if TYPE_CHECKING:
    from bench.variants.steps import StepContext

State: TypeAlias = dict[str, Any]
"""Tensors, numbers and text, in lists and dictionaries."""

_Item = TypeVar("_Item")

INTERVAL_SECONDS = 20.0
"""A killed run loses about so much of a part, and the frames or the step that it was at."""
REST_SECONDS = 3.0
"""Less than that at the end of a part is not worth a file."""
# Saving may take such a share of the time, unless more than twice the interval would be lost.
_SHARE = 0.02
_LAYOUT = 1
_MOST_BYTES = 2**40


class Part:
    """One part of a step. `state` is what a killed run saved of it, until the step has gone on from there; empty where
    there is nothing. `done` is how many frames, layers or batches that run had done when it saved.
    """

    def __init__(self, work: StepContext, name: str) -> None:
        self._work, self._name = work, name
        self.state: State = read(work, name) or {}
        self.done = int(self.state.get("done", 0))
        self._saved_at = time.monotonic()
        self._interval = INTERVAL_SECONDS

    def tensors(self, key: str, device: Any) -> dict[str, Any]:
        """The named tensors below a key of the state, on a device; none where nothing was saved."""
        return {name: tensor.to(device) for name, tensor in self.state.get(key, {}).items()}

    def keep(self, done: int, total: int, state: Callable[[], State]) -> None:
        """Save what `state()` gives and how much of `total` is done, where that is enough since the last time.

        Where there is no room for it, the step goes on without.
        """
        # Activations of all frames may be in it, and there may be no memory for two of them.
        self.state = {}
        began = time.monotonic()
        if began - self._saved_at < (min(REST_SECONDS, self._interval) if done == total else self._interval):
            return
        with suppress(OSError):
            write(self._work, self._name, state() | {"done": done})
        self._saved_at = time.monotonic()
        longest = max(INTERVAL_SECONDS, min(2 * INTERVAL_SECONDS, (self._saved_at - began) / _SHARE))
        self._interval = longest


def write(work: StepContext, name: str, state: State) -> None:
    """Save the state of a part. `NotWrittenError` where that can't be done."""
    import torch

    memory = io.BytesIO()
    torch.save(state, memory)
    data = memory.getbuffer()
    # In one file, so that no kill comes between the two.
    seal = seals.seal_of(data, seals.lasting_secret(), _key(work, name)).encode("ascii")

    def fill(file: Any) -> None:
        file.write(seal + b"\n")
        file.write(data)

    write_atomically(work.scratch / _file(name), fill)


def read(work: StepContext, name: str) -> State | None:
    """What a killed run of this user saved; None where there is nothing, or nothing that can be read."""
    import torch

    sweep(work.scratch, held=True)
    try:
        seal, _, data = stored.read_bytes(work.scratch / _file(name), _MOST_BYTES, links=False).partition(b"\n")
        if not seals.equal(seals.seal_of(data, seals.lasting_secret(), _key(work, name)), seal.decode("ascii")):
            return None
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # damaged files fail in more ways than torch documents
        return None
    return state if isinstance(state, dict) else None


def _file(name: str) -> str:
    return f"{re.sub('[^a-z0-9]+', '-', name)}.checkpoint"


def _key(work: StepContext, name: str) -> str:
    """What it belongs to is part of the seal: sums over other threads differ in their last bits."""
    return f"checkpoint {_LAYOUT} {work.scratch.name} {name} {work.device} {work.threads}"


def each(part: Part, items: Sequence[_Item], work: Callable[[Sequence[_Item]], Iterable[State]]) -> Iterator[State]:
    """What `work` makes of the items, one after the other; what was saved of the first ones is not made again."""
    made: list[State] = part.state.get("made", [])
    yield from made
    made = list(made)
    for state in work(items[len(made) :]):
        made.append(state)
        part.keep(len(made), len(items), lambda: {"made": made})
        yield state
