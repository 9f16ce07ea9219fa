"""From files to batches: frames decoded, blended, augmented and resized, each by a seed of its own.

What a batch holds follows from the training's seed, the epoch and the place in it, whatever reads it: a process, or
several, begun anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from bench.errors import UserError, on_one_line
from bench.records import Frame, InputSpec, Point
from bench.training import augmentation
from bench.training.augment_settings import AugmentSettings
from bench.training.sampling import Key, Plan, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Made: TypeAlias = tuple[NDArray[np.uint8], int, NDArray[np.uint8], bool]
    """Of a picture: pixels, label, mask, and whether it is known where it is forged."""

Points: TypeAlias = Sequence[tuple[float, float]]

_CHANGES, _BLENDS, _CROPS = 2, 3, 4
"""Stand in the seeds of what is drawn for a unit, so that one drawing more of one changes no other."""
_AHEAD = 4
"""Batches that each process reads ahead."""


class Batch(NamedTuple):
    """Frames uint8 [n, 3, size, size], labels int64 [n], masks uint8 [n, size, size].

    `is_masked` bool [n]: whether it is known where the frame is forged, which of real frames it is.
    """

    frames: Tensor
    labels: Tensor
    masks: Tensor
    is_masked: Tensor


@dataclass(frozen=True)
class Pictures:
    """How files become pixels: what the room of frames knows.

    `picture(file)` is RGB, uint8 [height, width, 3], `fit(picture, spec)` that as the network takes it, `placed(points,
    height, width, spec)` where points of a picture lie then, `mask(frame, height, width)` how far pixels are forged,
    `blend(rng, fitted, points, scale)` a fake of a fitted frame, and its mask. All can be handed to other processes.
    """

    picture: Callable[[Path], NDArray[np.uint8]]
    fit: Callable[[NDArray[np.uint8], InputSpec], NDArray[np.uint8]]
    placed: Callable[[Points, int, int, InputSpec], Points]
    mask: Callable[[Frame, int, int], NDArray[np.uint8]]
    blend: Callable[
        [np.random.Generator, NDArray[np.uint8], Points, float], tuple[NDArray[np.uint8], NDArray[np.uint8]]
    ]


@dataclass(frozen=True)
class Samples:
    """The train frames, and what is done to them; `frames[index]` belongs to the units of a `Plan`.

    `points` are those of faces, in pixels of files, by frame; with `blend_scale` every unit is a real frame and a fake
    that is blended from it. `with_masks`: masks are read.
    """

    frames: tuple[Frame, ...]
    pictures: Pictures
    spec: InputSpec
    augment: AugmentSettings
    seed: int
    points: Mapping[int, tuple[Point, ...]]
    blend_scale: float | None = None
    with_masks: bool = False

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: Key) -> list[Made] | Exception:
        """What a unit puts into its batch: pixels, label, mask, whether it is known where it is forged.

        Where a frame can't be read, the error: what a process raises that reads, PyTorch would make another one of.
        """
        try:
            return self._made(key)
        except (UserError, OSError, MemoryError) as error:
            return error

    def _made(self, key: Key) -> list[Made]:
        import numpy as np

        epoch, position, unit = key
        made = []
        for pixels, label, mask, is_masked in self._of_unit(epoch, position, unit):
            # The same changes for all of a unit.
            rng = np.random.default_rng([self.seed, _CHANGES, epoch, position])
            made.append((*augmentation.changed(rng, self.augment, pixels, mask), label, is_masked))
        return [(pixels, label, mask, is_masked) for pixels, mask, label, is_masked in made]

    def _of_unit(self, epoch: int, position: int, unit: Unit) -> Iterator[Made]:
        """The frames of a unit, cropped alike and fitted, before all other changes."""
        import numpy as np

        for index in unit:
            frame = self.frames[index]
            picture = self.pictures.picture(frame.file)
            height, width = picture.shape[:2]
            rng = np.random.default_rng([self.seed, _CROPS, epoch, position])
            top, left, tall, wide = augmentation.crop_box(rng, self.augment, height, width)
            part = np.ascontiguousarray(picture[top : top + tall, left : left + wide])
            pixels = self.pictures.fit(part, self.spec)
            mask = np.zeros(pixels.shape[:2], np.uint8)
            if self.blend_scale is not None:
                yield pixels, 0, mask, True
                moved = [(x - left, y - top) for x, y in self.points[index]]
                points = self.pictures.placed(moved, tall, wide, self.spec)
                drawn = np.random.default_rng([self.seed, _BLENDS, epoch, position])
                fake, forged = self.pictures.blend(drawn, pixels, points, self.blend_scale)
                yield fake, 1, forged, True
                continue
            has_mask = self.with_masks and frame.label == 1 and frame.mask is not None
            if has_mask:
                whole = self.pictures.mask(frame, height, width)[top : top + tall, left : left + wide]
                by_area = replace(self.spec, interpolation="area")
                mask = self.pictures.fit(np.repeat(whole[..., None], 3, axis=2), by_area)[..., 0]
            yield pixels, int(frame.label or 0), mask, has_mask or frame.label == 0


def batches(
    samples: Samples, plan: Plan, epoch: int, first: int, workers: int, *, pinned: bool = False
) -> Iterator[Batch]:
    """The batches of an epoch from the one numbered `first` on, read ahead by so many processes; 0 reads here."""
    from functools import partial

    import torch
    from torch.utils.data import DataLoader

    loader: DataLoader[Batch | Exception] = DataLoader(
        samples,  # type: ignore[arg-type]  # what it gives is collated below
        batch_sampler=plan.batches(epoch, first),
        num_workers=workers,
        collate_fn=_collated,
        prefetch_factor=_AHEAD if workers else None,
        worker_init_fn=partial(_seeded, plan.seed, epoch) if workers else None,
        pin_memory=pinned,
        # Otherwise it draws a seed from the generator of dropout, once more where an epoch is begun in its middle.
        generator=torch.Generator(),
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


@contextmanager
def telling_of_workers() -> Iterator[None]:
    """`UserError` where a process that reads is killed, which PyTorch raises wherever its parent is at that moment."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            f"a process that reads frames ended ({on_one_line(str(error))[:120]}), perhaps for want of memory or of "
            "shared memory; set fewer `workers`, or `workers: 0`"
        ) from error


def _seeded(seed: int, epoch: int, worker: int) -> None:
    """Seed all generators of a process that reads, for whatever a library draws from them; one thread for each."""
    import cv2
    import numpy as np
    import torch

    drawn = int(np.random.SeedSequence([seed, epoch, worker]).generate_state(1)[0])
    random.seed(drawn)
    np.random.seed(drawn)
    torch.manual_seed(drawn)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def _collated(
    units: Sequence[Sequence[Made] | Exception],
) -> Batch | Exception:
    """One batch of what units put into it; the first error, where there is one."""
    import numpy as np
    import torch

    made: list[Made] = []
    for unit in units:
        if isinstance(unit, Exception):
            return unit
        made += unit
    frames = np.stack([pixels for pixels, *_ in made]).transpose(0, 3, 1, 2)
    masks = np.stack([mask for _, _, mask, _ in made])
    return Batch(
        torch.from_numpy(np.ascontiguousarray(frames)),
        torch.tensor([label for _, label, *_ in made], dtype=torch.int64),
        torch.from_numpy(masks),
        torch.tensor([is_masked for *_, is_masked in made]),
    )
