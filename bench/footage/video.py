"""Frames of a video by their number, however it is stored.

Containers count frames wrongly or not at all, and seeking by time misses frames where rates vary. So a first pass only
demuxes: it counts packets and notes the time at which each is to be shown (pts). A frame's number is the rank of its
pts. The second pass decodes packet by packet, and a packet that fails costs its own frame alone.

Nothing seeks. Packets that no frame asked for depends on are passed over: decoding begins at the key frame before it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.footage.formats import VideoError, library, opened

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_PACKETS = 5_000_000
"""Of a video: 46 hours at 30 frames a second."""
_MOST_FAILURES = 1_000
"""Failures to read that are borne in a row before the rest of a file counts as lost."""
_LEAST_SKIP = 8
"""So few packets are rather decoded than the decoder begun anew behind them."""

_BY_ORDER = {("avi", "h264"), ("avi", "hevc")}
"""Containers that store no times of showing, with codecs that store frames in another order than they are shown in."""

_SKIPPABLE = {"h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "prores", "dnxhd"}
"""Codecs in which nothing from before a key frame is needed by frames that are shown after it."""


class UnorderedError(VideoError):
    """The frames came in another order than their times say."""

    def __init__(self) -> None:
        super().__init__("its frames come in another order than their times say")


@dataclass(frozen=True)
class Timeline:
    """What demuxing tells of a video stream: its packets as they lie in the file.

    `pts` are the times at which packets are shown, in units of `unit_s` seconds; `ranks` has the number of each packet
    in the order of showing, `by_rank` is the reverse. Where packets have no times, these are empty, and frames are
    numbered as the decoder gives them, which is the order of showing too. `keys` are the numbers of key packets.
    `failures` counts what could not be read.
    """

    count: int
    pts: array[int]
    by_rank: array[int]
    keys: array[int]
    unit_s: float
    frame_s: float
    failures: int
    can_skip: bool

    @property
    def has_times(self) -> bool:
        return bool(self.pts)

    def time_s(self, number: int) -> float | None:
        """Seconds from the first frame to this one; None where nothing tells them."""
        if self.has_times:
            return (self.pts[self.by_rank[number]] - self.pts[self.by_rank[0]]) * self.unit_s
        return number * self.frame_s if self.frame_s else None

    def without_times(self) -> Timeline:
        """The same, numbered as the decoder gives frames."""
        return Timeline(self.count, array("q"), array("q"), self.keys, self.unit_s, self.frame_s, self.failures, False)


@dataclass(frozen=True)
class Picture:
    """A decoded frame: its number, its time in seconds, None where unknown, and uint8 RGB [h, w, 3], upright."""

    number: int
    time_s: float | None
    pixels: NDArray[np.uint8]


@dataclass
class Damage:
    """What went wrong while a video was decoded: packets that failed, and frames that the decoder calls corrupt."""

    packets: int = 0
    corrupt: int = 0


def timeline(file: Path, tick: Callable[[], object] = lambda: None) -> Timeline:
    """The packets of a video's first video stream; nothing is decoded. `tick` is called for each.

    Raises `VideoError` where the file can't be opened, holds no video, or more packets than any video has.
    """
    pts, keys, complete, count, failures = array("q"), array("q"), True, 0, 0
    with opened(file) as (container, stream):
        for packet in _packets(container, stream):
            tick()
            if packet is None:
                failures += 1
                continue
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.is_keyframe:
                keys.append(count)
            complete = complete and packet.pts is not None
            if complete:
                pts.append(packet.pts)
            count += 1
            if count > MOST_PACKETS:
                raise VideoError(f"more than {MOST_PACKETS:,} frames; cut it into parts", "too large")
        codec, rate = stream.codec_context.name, stream.average_rate
        by_order = not complete or (container.format.name, codec) in _BY_ORDER
        unit_s = float(stream.time_base or 0)
        can_skip = codec in _SKIPPABLE and container.format.name.partition(",")[0] in ("mov", "matroska", "avi")
    if not count:
        raise VideoError("no frames", "no frames")
    by_rank = array("q", sorted(range(count), key=pts.__getitem__)) if not by_order else array("q")
    frame_s = 1 / float(rate) if rate else 0.0
    return Timeline(count, array("q") if by_order else pts, by_rank, keys, unit_s, frame_s, failures, can_skip)


def decode(
    file: Path,
    line: Timeline,
    numbers: Sequence[int],
    damage: Damage,
    *,
    threads: int = 1,
    tick: Callable[[], object] = lambda: None,
) -> Iterator[Picture]:
    """The frames of these numbers, which rise, as far as they can be decoded; those that can't are left out.

    What fails is counted in `damage`. `tick` is called for each packet. Raises `UnorderedError` where the times of
    packets prove wrong: frames before it may be others than asked for, and `line.without_times()` has to be used.
    """
    left = list(reversed(numbers))
    for number, frame in _numbered(file, line, numbers, damage, threads, tick):
        while left and left[-1] < number:
            left.pop()
        if left and left[-1] == number:
            left.pop()
            if frame.is_corrupt:
                damage.corrupt += 1
            else:
                yield Picture(number, line.time_s(number), upright(frame))
        if not left:
            return


def upright(frame: Any) -> NDArray[np.uint8]:
    """A decoded frame as uint8 RGB [h, w, 3], turned and mirrored as its display matrix says."""
    import numpy as np

    pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    stored = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return np.ascontiguousarray(pixels)
    # A place (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d, *_ = np.frombuffer(bytes(stored), "<i4").tolist()
    across, down = a, d
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _numbered(
    file: Path, line: Timeline, numbers: Sequence[int], damage: Damage, threads: int, tick: Callable[[], object]
) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their numbers, rising; of a timeline with times, those asked for among them."""
    ranks = _Ranks(line)
    parts = iter(_parts(line, numbers))
    first, last = next(parts, (0, -1))
    position = -1
    with opened(file, threads) as (container, stream):
        context = stream.codec_context
        for packet in _packets(container, stream):
            tick()
            if packet is None:
                continue
            if packet.size and packet.is_discard:
                # Nobody sees it, as before the cut of a clip that was not encoded anew, and frames behind it need it.
                if position + 1 >= first:
                    yield from ranks.of(_of_discarded(packet, ranks))
                continue
            position += bool(packet.size)
            if packet.size and position < first:
                continue
            yield from ranks.of(_decoded(packet.decode, damage, ranks))
            if position >= last and packet.size:
                yield from ranks.of(_decoded(lambda: context.decode(None), damage, ranks))
                first, last = next(parts, (0, -1))
                if last < 0:
                    return
                context.flush_buffers()


class _Ranks:
    """Numbers frames as a decoder gives them."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._times = array("q", (line.pts[packet] for packet in line.by_rank))
        self._next = 0

    def of(self, frames: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for frame in frames:
            number = self._number(frame)
            self._next = number + 1
            yield number, frame

    def lose(self) -> None:
        """Count a frame that could not be decoded, where nothing but the order tells the numbers of the others."""
        if not self._line.has_times:
            self._next += 1

    def has(self, frame: Any) -> bool:
        """Whether a frame's time is one of those that are numbered; any is where there are no times."""
        if not self._line.has_times or frame.pts is None:
            return not self._line.has_times
        rank = bisect_left(self._times, frame.pts)
        return rank < len(self._times) and self._times[rank] == frame.pts

    def _number(self, frame: Any) -> int:
        """The rank of a frame's time; `UnorderedError` where that is before the frame that came last, or nobody's."""
        if not self._line.has_times:
            return self._next
        if frame.pts is None:
            raise UnorderedError
        number = bisect_left(self._times, frame.pts)
        # Several packets may be shown at the same time; they come one after another.
        if number < self._next and self._next < len(self._times) and self._times[self._next] == frame.pts:
            number = self._next
        if number < self._next or number == len(self._times) or self._times[number] != frame.pts:
            raise UnorderedError
        return number


def _of_discarded(packet: Any, ranks: _Ranks) -> list[Any]:
    """The frames that a decoder gives where it is given a packet that nobody sees: those of packets before it."""
    av = library()
    try:
        return [frame for frame in packet.decode() if ranks.has(frame)]
    except (av.error.FFmpegError, ValueError, MemoryError):
        return []


def _decoded(decode_packet: Callable[[], Sequence[Any]], damage: Damage, ranks: _Ranks) -> Sequence[Any]:
    """The frames that a packet gives; a packet that fails is counted."""
    av = library()
    try:
        return decode_packet()
    except av.error.EOFError:
        return ()
    except (av.error.FFmpegError, ValueError, MemoryError):
        damage.packets += 1
        ranks.lose()
        return ()


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream, an empty one last; None for each that could not be read."""
    av = library()
    failures = 0
    while True:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                failures += 1
                break
            failures = 0
            yield packet
        yield None
        if failures >= _MOST_FAILURES:
            return


def _parts(line: Timeline, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """First and last packet of each stretch that has to be decoded for the frames of these numbers, in order."""
    if not line.has_times or not line.can_skip:
        last = line.count - 1 if not line.has_times or not numbers else _last_packet(line, numbers[-1])
        return [(0, last)]
    parts: list[tuple[int, int]] = []
    for packet in sorted(line.by_rank[number] for number in numbers):
        start = _start(line, packet)
        while parts and start - parts[-1][1] <= _LEAST_SKIP:
            start = min(parts.pop()[0], start)
        parts.append((start, packet))
    return parts


def _last_packet(line: Timeline, number: int) -> int:
    """The last packet, as they lie in the file, that is shown no later than this frame."""
    return max(line.by_rank[: number + 1])


def _start(line: Timeline, packet: int) -> int:
    """The key packet where decoding must begin to give a packet's frame.

    A frame that is shown before the key frame in front of it may need what lies before that one.
    """
    at = bisect_left(line.keys, packet + 1) - 1
    while at >= 0 and line.pts[line.keys[at]] > line.pts[packet]:
        at -= 1
    return line.keys[at] if at >= 0 else 0
