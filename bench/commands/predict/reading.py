"""From files to what the network judges: decoded, cut and fitted by several threads, in the order of the files."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bench import datasets
from bench.commands.predict.inputs import Item
from bench.errors import UserError, counted, on_one_line
from bench.footage import in_front, sampling, video
from bench.footage.formats import VideoError
from bench.footage.video import Damage, Picture
from bench.inference.subjects import FramesOfSet, whole_because
from bench.inference.video_frames import decoded
from bench.records import Finder, Preprocessing
from bench.records.inspection import FacesOption

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]

NO_FACE = "no face was found"


@dataclass(frozen=True, slots=True)
class Sight:
    """What is judged of a file: a picture or a frame of a video, all of it or one of its faces; or the `error`.

    `pixels` [3, size, size] are as the network takes them. `face` numbers faces from 0, the surest first; None of a
    whole picture.
    """

    pixels: Pixels | None
    frame_index: int | None = None
    face: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Sights of a file, the last of it or not; `item` is its number."""

    item: int
    sights: tuple[Sight, ...]
    is_last: bool = True


@dataclass(frozen=True)
class Reader:
    """Reads files for one detector, with so many threads; `of_set` knows the frames that are crops already."""

    preprocessing: Preprocessing
    faces: FacesOption
    of_set: FramesOfSet | None
    frames: int
    frame_sampling: str
    threads: int

    def parts(self, items: Iterable[tuple[int, Item]], most: int) -> Generator[Part, None, None]:
        """The sights of all files, at most `most` pictures being prepared ahead."""
        pending: deque[Future[Part]] = deque()
        pool = ThreadPoolExecutor(self.threads, "decode", self._begin)
        try:
            for future in self._submitted(items, pool):
                pending.append(future)
                if len(pending) > most:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _begin(self) -> None:
        """In each thread: a finder of its own, since they can't be shared."""
        if self._cuts:
            _of_thread.finder = in_front.finder(self.preprocessing.crop)

    @property
    def _cuts(self) -> bool:
        """Whether faces may be cut out of a picture that is no frame of the set."""
        return not whole_because(self.preprocessing.crop, self.faces, False)

    def _submitted(self, items: Iterable[tuple[int, Item]], pool: ThreadPoolExecutor) -> Iterator[Future[Part]]:
        for number, item in items:
            if item.problem:
                yield _finished(Part(number, (Sight(None, item.frame_index, error=item.problem),)))
            elif item.is_video:
                yield from self._of_video(number, item, pool)
            else:
                yield pool.submit(self._of_picture, number, item)

    # ------------------------------------------------------------------------------------ pictures
    def _of_picture(self, number: int, item: Item) -> Part:
        return Part(number, tuple(self._sights(Path(item.file), item.frame_index)))

    def _sights(self, file: Path, index: int | None) -> Iterator[Sight]:
        try:
            # Of a picture that is taken whole, nothing but what the network sees is made.
            if not self._cuts or (self.faces == "auto" and self.of_set and self.of_set.holds(file)):
                yield Sight(_planes(datasets.decode(file, self.preprocessing.input_spec)), index)
            else:
                yield from self._of_faces(datasets.picture(file), index)
        except UserError as error:
            yield Sight(None, index, error=error.lines[0].removeprefix(f"{on_one_line(str(file))}: "))
        except OSError as error:
            yield Sight(None, index, error=error.strerror or str(error))

    def _of_faces(self, pixels: Pixels, index: int | None) -> Iterator[Sight]:
        """Each face of a decoded picture."""
        finder: Finder = _of_thread.finder
        try:
            with in_front.searching(pixels):
                crops = in_front.cut(pixels, self.preprocessing.crop, finder)
        except in_front.UnsearchableError as error:
            yield Sight(None, index, error=str(error))
            return
        if not crops:
            yield Sight(None, index, error=NO_FACE)
        for face, crop in enumerate(crops):
            yield Sight(_planes(datasets.fit(crop.pixels, self.preprocessing.input_spec)), index, face)

    # ------------------------------------------------------------------------------------ videos
    def _of_video(self, number: int, item: Item, pool: ThreadPoolExecutor) -> Iterator[Future[Part]]:
        """Decode here, ahead of the threads that look for faces; errors are the last sight."""
        damage, given, error = Damage(), 0, ""
        try:
            line = video.timeline(Path(item.file))
            numbers = sampling.numbers(self.frame_sampling, line.count, self.frames)
            for picture in decoded(Path(item.file), line, numbers, damage, threads=self.threads):
                given += 1
                yield pool.submit(self._of_frame, number, picture)
            if given < len(numbers):
                error = f"{len(numbers) - given} of {counted(len(numbers), 'frame')} can't be decoded"
        except (VideoError, ValueError) as problem:
            error = str(problem)
        yield _finished(Part(number, (Sight(None, error=error),) if error else ()))

    def _of_frame(self, number: int, picture: Picture) -> Part:
        if self._cuts:
            return Part(number, tuple(self._of_faces(picture.pixels, picture.number)), False)
        pixels = _planes(datasets.fit(picture.pixels, self.preprocessing.input_spec))
        return Part(number, (Sight(pixels, picture.number),), False)


class _OfThread(threading.local):
    """What each thread has for itself."""

    finder: Finder


_of_thread = _OfThread()


def _planes(fitted: Pixels) -> Pixels:
    """A fitted frame [size, size, 3] plane by plane, in the thread that made it."""
    import numpy as np

    return np.ascontiguousarray(fitted.transpose(2, 0, 1))


def _finished(part: Part) -> Future[Part]:
    future: Future[Part] = Future()
    future.set_result(part)
    return future
