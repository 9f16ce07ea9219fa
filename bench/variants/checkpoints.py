"""What a step has done so far, saved in its scratch folder, so that a killed run goes on from there.

A step has parts, such as a pass over the calibration frames. Each has one file, sealed with this user's secret and
with what it belongs to: a stranger's file, or one of another variant, counts as absent.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar, cast

from bench import seals, stored
from bench.files import sweep, write_atomically

if TYPE_CHECKING:
    import hmac

    from bench.variants.steps import StepContext

State: TypeAlias = dict[str, Any]
"""Tensors, numbers and text, in lists and dictionaries."""

_Item = TypeVar("_Item")

INTERVAL_SECONDS = 20.0
"""A killed run loses about so much of a part, and the frames or the step that it was at."""
REST_SECONDS = 3.0
"""Less than that at the end of a part is not worth a file."""
# Saving may take such a share of the time, unless more than so many intervals would be lost.
_SHARE = 0.02
_LONGEST = 1.5
_LAYOUT = 1
_MOST_BYTES = 2**40
_SEAL_BYTES = 64


class Pace:
    """When the state of a part is worth saving again: 20 s after the last time, where saving takes long up to 30 s.

    Sooner where the next unit of work, as long as this one, would take it past 30 s.
    """

    def __init__(self) -> None:
        self._saved_at = self._came_at = time.monotonic()
        self._interval = INTERVAL_SECONDS

    def save(self, work: StepContext, name: str, state: Callable[[], State], *, at_end: bool = False) -> None:
        """Save what `state()` gives, where that is due. Where there is no room for it, the step goes on without.

        `at_end`: nothing more of the part follows, and less than the interval is worth a file.
        """
        began = time.monotonic()
        since, unit = began - self._saved_at, began - self._came_at
        self._came_at = began
        if at_end:
            due = since >= min(REST_SECONDS, self._interval)
        else:
            due = since >= self._interval or since + unit >= _LONGEST * INTERVAL_SECONDS
        if not due:
            return
        with suppress(OSError):
            write(work, name, state())
        self._saved_at = self._came_at = time.monotonic()
        self._interval = max(INTERVAL_SECONDS, min(_LONGEST * INTERVAL_SECONDS, (self._saved_at - began) / _SHARE))


class Part:
    """One part of a step. `state` is what a killed run saved of it, until the step has gone on from there; empty where
    there is nothing. `done` is how many frames, layers or batches that run had done when it saved.
    """

    def __init__(self, work: StepContext, name: str) -> None:
        self._work, self._name = work, name
        self.state: State = read(work, name) or {}
        self.done = int(self.state.get("done", 0))
        self._pace = Pace()

    def tensors(self, key: str, device: Any) -> dict[str, Any]:
        """The named tensors below a key of the state, on a device; none where nothing was saved."""
        return {name: tensor.to(device) for name, tensor in self.state.get(key, {}).items()}

    def keep(self, done: int, total: int, state: Callable[[], State]) -> None:
        """Save what `state()` gives and how much of `total` is done, where that is enough since the last time."""
        # Activations of all frames may be in it, and there may be no memory for two of them.
        self.state = {}
        self._pace.save(self._work, self._name, lambda: state() | {"done": done}, at_end=done == total)


def write(work: StepContext, name: str, state: State) -> None:
    """Save the state of a part, without a second copy of it in memory. `NotWrittenError` where that can't be done."""
    import torch

    def fill(file: BinaryIO) -> None:
        # In one file, so that no kill comes between the two; the seal is known when all is written.
        file.write(b"0" * _SEAL_BYTES + b"\n")
        stream = _Sealing(file, seals.begun(seals.lasting_secret(), _key(work, name)))
        # Of a file it asks for these two methods only.
        torch.save(state, cast("BinaryIO", stream))
        file.seek(0)
        file.write(stream.seal())

    write_atomically(work.scratch / _file(name), fill)


class _Sealing:
    """A file that is sealed while it is written.

    Its errors wait for `seal`: raised inside `torch.save`, another one would take their place.
    """

    def __init__(self, file: BinaryIO, code: hmac.HMAC) -> None:
        self._file, self._code = file, code
        self._error: BaseException | None = None

    def write(self, data: memoryview) -> int:
        try:
            if self._error is None:
                self._code.update(data)
                self._file.write(data)
        except BaseException as error:
            self._error = error
        return len(data)

    def flush(self) -> None:
        """What `torch.save` asks for; the file is flushed when it is closed."""

    def seal(self) -> bytes:
        """Of all that was written; raises what went wrong meanwhile."""
        if self._error is not None:
            raise self._error
        return self._code.hexdigest().encode("ascii")


def read(work: StepContext, name: str) -> State | None:
    """What a killed run of this user saved; None where there is nothing, or nothing that can be read."""
    import torch

    sweep(work.scratch, held=True)
    try:
        with stored.open_file(work.scratch / _file(name), links=False) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                return None
            seal, data = file.read(_SEAL_BYTES + 1).removesuffix(b"\n"), file.read()
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
