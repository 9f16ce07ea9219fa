"""Frames of videos by their number: each frame shows its own, whatever the container says."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from bench.footage import formats, video
from bench.footage.formats import VideoError
from bench.footage.video import Damage, Timeline
from tests.support.footage import HEIGHT, WIDTH, number_of, numbered, write_sound, write_video

OPEN_GOP = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=3:open-gop=1"}
KINDS = {
    "h264.mp4": ("libx264", None),
    "open-gop.mp4": ("libx264", OPEN_GOP),
    "h264.mkv": ("libx264", None),
    "h264.ts": ("libx264", None),
    "h264.avi": ("libx264", None),
    "h264.flv": ("libx264", None),
    "raw.h264": ("libx264", None),
    "raw.hevc": ("libx265", {"x265-params": "log-level=none:bframes=3:keyint=12"}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none:bframes=3:keyint=12:open-gop=1"}),
    "vp8.webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "12", "g": "12"}),
    "vp9.webm": ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "12", "g": "12"}),
    "xvid.avi": ("mpeg4", {"bf": "2", "g": "12"}),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2", "g": "12"}),
    "mjpeg.avi": ("mjpeg", None),
    "mjpeg.mov": ("mjpeg", None),
}  # fmt: skip


def shown(file: Path, numbers: Sequence[int], line: Timeline | None = None) -> dict[int, int]:
    """The number that each decoded frame shows, by the number that it is said to have."""
    line, damage = line or video.timeline(file), Damage()
    frames = {picture.number: number_of(picture.pixels) for picture in video.decode(file, line, numbers, damage)}
    assert damage == Damage()
    return frames


@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_those_of_the_frames(tmp_path: Path, name: str) -> None:
    codec, options = KINDS[name]
    file = write_video(tmp_path / name, 61, codec, options=options)
    line = video.timeline(file)
    assert line.count == 61
    rng = random.Random(name)
    for numbers in (
        [0, 60],
        list(range(61)),
        [59],
        sorted(rng.sample(range(61), 5)),
        sorted(rng.sample(range(61), 12)),
    ):
        assert shown(file, numbers, line) == {number: number for number in numbers}


def test_times_of_a_variable_rate_are_those_of_the_frames(tmp_path: Path) -> None:
    rng = random.Random(4)
    times = [0]
    for _ in range(49):
        times.append(times[-1] + rng.choice([11, 33, 40, 250]))
    file = write_video(tmp_path / "variable.mkv", 50, times=times)
    line = video.timeline(file)
    pictures = list(video.decode(file, line, [0, 7, 30, 49], Damage()))
    assert [number_of(picture.pixels) for picture in pictures] == [0, 7, 30, 49]
    assert [picture.time_s for picture in pictures] == pytest.approx(
        [times[n] / 1000 for n in (0, 7, 30, 49)], abs=2e-3
    )


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_phone_video_is_turned_upright(tmp_path: Path, rotation: int) -> None:
    turns = rotation // 90
    file = write_video(
        tmp_path / "phone.mp4", 8, rotation=rotation, draw=lambda n: np.rot90(numbered(n), -turns).copy()
    )
    assert shown(file, [0, 3, 7]) == {0: 0, 3: 3, 7: 7}


@pytest.mark.parametrize(
    ("matrix", "shown_as"),
    [
        ((-1, 0, 0, 1), [[2, 1], [4, 3], [6, 5]]), ((1, 0, 0, -1), [[5, 6], [3, 4], [1, 2]]),
        ((0, 1, 1, 0), [[1, 3, 5], [2, 4, 6]]), ((0, 1, -1, 0), [[5, 3, 1], [6, 4, 2]]),
        ((-1, 0, 0, -1), [[6, 5], [4, 3], [2, 1]]), ((1, 0, 0, 1), [[1, 2], [3, 4], [5, 6]]),
    ],
)  # fmt: skip
def test_a_display_matrix_may_mirror_too(matrix: tuple[int, ...], shown_as: list[list[int]]) -> None:
    """As players show it: place (x, y), right and down, at (a x + c y, b x + d y)."""
    a, b, c, d = (65536 * value for value in matrix)
    stored = np.array([a, b, 0, c, d, 0, 0, 0, 2**30], "<i4").tobytes()
    pixels = np.array([[1, 2], [3, 4], [5, 6]], np.uint8)[..., None].repeat(3, 2)
    frame = SimpleNamespace(side_data={"DISPLAYMATRIX": stored}, to_ndarray=lambda **_: pixels)
    assert video.upright(frame)[..., 0].tolist() == shown_as


def cut_without_encoding(source: Path, target: Path, first: int) -> Path:
    """The same packets, those before a frame in front of time 0: an edit list says that nobody sees them."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        unit = None
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is None or packet.pts is None:
                continue
            unit = unit or packet.duration or 1
            packet.pts, packet.dts, packet.stream = packet.pts - first * unit, packet.dts - first * unit, stream
            made.mux(packet)
    return target


def test_a_clip_that_was_cut_without_encoding_has_its_first_frames(tmp_path: Path) -> None:
    options = {"x264-params": "keyint=250:min-keyint=250:scenecut=0:bframes=2"}
    file = cut_without_encoding(write_video(tmp_path / "whole.mp4", 60, options=options), tmp_path / "cut.mp4", 20)
    line = video.timeline(file)
    assert line.count == 40, "what nobody sees is not counted"
    assert shown(file, [0, 1, 7, 39], line) == {0: 20, 1: 21, 7: 27, 39: 59}
    assert shown(file, [30], line) == {30: 50}


def test_only_what_a_frame_depends_on_is_decoded(tmp_path: Path) -> None:
    file = write_video(tmp_path / "long.mp4", 240)
    line = video.timeline(file)
    assert len(line.keys) == 20
    packets = sum(last - first + 1 for first, last in video._parts(line, [5, 130, 239]))
    assert packets <= 3 * 12
    assert shown(file, [5, 130, 239], line) == {5: 5, 130: 130, 239: 239}


def test_truncated_video_gives_the_frames_that_are_whole(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv", 48)
    file = tmp_path / "truncated.mkv"
    data = whole.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    line, damage = video.timeline(file), Damage()
    assert 10 < line.count < 48
    frames = {p.number: number_of(p.pixels) for p in video.decode(file, line, range(line.count), damage)}
    assert len(frames) >= line.count - 4
    assert sum(number != of_frame for number, of_frame in frames.items()) <= 4


def test_broken_packets_cost_their_own_frames(tmp_path: Path) -> None:
    file = write_video(tmp_path / "broken.avi", 40, "mjpeg")
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(container.streams.video[0])]
    for broken in (7, 20):
        start, size = packets[broken]
        assert start is not None
        data[start + 8 : start + size] = bytes(size - 8)
    file.write_bytes(data)
    line, damage = video.timeline(file), Damage()
    frames = {p.number: number_of(p.pixels) for p in video.decode(file, line, range(40), damage)}
    assert frames == {number: number for number in range(40) if number not in (7, 20)}
    assert damage.packets == 2


def test_corrupt_h264_costs_frames_up_to_the_next_key_frame(tmp_path: Path) -> None:
    """With B-frames, in the second of four groups of twelve: the others are whole, whatever becomes of that."""
    file = write_video(tmp_path / "corrupt.mp4", 48)
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(container.streams.video[0])]
    start, size = packets[13]
    assert start is not None
    data[start + 5 : start + size] = b"\xff" * (size - 5)
    file.write_bytes(data)
    line, damage = video.timeline(file), Damage()
    assert line.count == 48
    frames = {p.number: number_of(p.pixels) for p in video.decode(file, line, range(48), damage)}
    whole = [number for number in range(48) if not 12 <= number < 24]
    assert [frames.get(number) for number in whole] == whole
    assert damage.packets or damage.corrupt


def test_mp4_without_its_end_has_no_index(tmp_path: Path) -> None:
    file = write_video(tmp_path / "unclosed.mp4", 48)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match="broken at its start"):
        video.timeline(file)


def test_what_is_no_video_says_why(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "sound.mp4")
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("no video\n" * 100)
    blank = write_video(tmp_path / "blank.mkv", 0)
    for file, reason in ((sound, "no video stream"), (empty, "empty file"), (text, "no video"), (blank, "no frames")):
        with pytest.raises(VideoError, match=reason):
            video.timeline(file)


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.txt"])
def test_playlists_are_not_followed(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / "secret.ts")
    for text in (
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.ts\n",
        "file 'secret.ts'\n",
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match=r"playlist|no video"):
            video.timeline(tmp_path / name)


def test_names_are_no_protocols(tmp_path: Path) -> None:
    name = "concat:a.mp4|b.mp4"
    file = write_video(tmp_path / "plain.mp4").rename(tmp_path / name)
    assert video.timeline(file).count == 40
    assert list(tmp_path.iterdir()) == [file]


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoError, match="pipe"):
        video.timeline(tmp_path / "pipe.mp4")


def test_absurd_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video, "MOST_PACKETS", 30)
    with pytest.raises(VideoError, match="more than 30 frames"):
        video.timeline(file)
    monkeypatch.setattr(formats, "MOST_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(VideoError, match="320 × 96 pixels"):
        video.timeline(file)
