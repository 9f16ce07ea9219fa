"""Re-compressed frames against other libraries, and that one reading gives every level."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from av.video.reformatter import Interpolation
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bench import datasets
from bench.datasets import decoding, degradations
from bench.datasets.degradations import h264
from bench.datasets.robustness_settings import RobustnessSettings
from bench.errors import UserError
from bench.records import AnySpec, Degradation, DegradationKind, DegradedSpec, Frame, InputSpec

Picture = NDArray[np.uint8]
EVERY = [
    Degradation("jpeg", 50),
    Degradation("resize", 0.5),
    Degradation("blur", 1.5),
    Degradation("h264", 30),
]


def picture(height: int = 120, width: int = 160, seed: int = 0) -> Picture:
    """Coarse and fine structure in all three colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (height // 10 + 1, width // 10 + 1, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth, np.float64) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def differing(first: Picture, second: Picture) -> NDArray[np.float64]:
    return np.abs(first.astype(np.float64) - second)


@pytest.mark.parametrize("quality", [95, 90, 50, 10])
def test_jpeg_is_that_of_pillow(quality: int) -> None:
    frame = picture()
    file = BytesIO()
    Image.fromarray(frame).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert differing(degradations.degraded(frame, Degradation("jpeg", quality)), expected).mean() < 0.05
    # The same file with another sampling is much further away.
    Image.fromarray(frame).save(file := BytesIO(), "jpeg", quality=quality, subsampling="4:4:4")
    other = np.asarray(Image.open(file).convert("RGB"))
    assert differing(degradations.degraded(frame, Degradation("jpeg", quality)), other).mean() > 0.3


@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0])
def test_blur_is_that_of_scipy(sigma: float) -> None:
    frame = picture()
    expected = ndimage.gaussian_filter(frame.astype(np.float64), (sigma, sigma, 0), mode="mirror", truncate=4)
    distance = differing(degradations.degraded(frame, Degradation("blur", sigma)), expected)
    assert distance.max() < 2
    assert distance.mean() < 0.35


def test_resizing_is_that_of_pillow() -> None:
    frame = picture()
    small = Image.fromarray(frame).resize((80, 60), Image.Resampling.BOX)
    expected = np.asarray(small.resize((160, 120), Image.Resampling.BILINEAR))
    distance = differing(degradations.degraded(frame, Degradation("resize", 0.5)), expected)
    assert distance.max() <= 2
    assert distance.mean() < 0.8  # both round twice


@pytest.mark.parametrize("crf", [0, 23, 40])
def test_h264_is_what_a_file_with_that_frame_holds(crf: int) -> None:
    frame, file = picture(), BytesIO()
    rounded = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": str(crf), "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        pixels = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p", interpolation=rounded)
        for packet in (*stream.encode(pixels), *stream.encode()):
            container.mux(packet)
    file.seek(0)
    with av.open(file, "r") as container:
        decoded = next(container.decode(video=0))
        assert decoded.pict_type == PictureType.I
        expected = decoded.reformat(format="rgb24", interpolation=rounded).to_ndarray()
    assert (degradations.degraded(frame, Degradation("h264", crf)) == expected).all()


def test_h264_keeps_colours_where_there_is_nothing_else() -> None:
    for colour in ((0, 0, 0), (255, 255, 255), (120, 60, 200), (10, 250, 30)):
        flat = np.full((48, 64, 3), colour, np.uint8)
        assert differing(degradations.degraded(flat, Degradation("h264", 23)), flat).max() <= 2


def test_more_is_worse() -> None:
    frame = picture()
    for kind, levels in (
        ("jpeg", (95, 50, 5)),
        ("resize", (0.9, 0.5, 0.1)),
        ("blur", (0.5, 2, 8)),
        ("h264", (10, 28, 45)),
    ):
        levels_of: tuple[float, ...] = levels
        kind_of: Any = kind
        harm = [
            differing(degradations.degraded(frame, Degradation(kind_of, level)), frame).mean() for level in levels_of
        ]
        assert harm == sorted(harm), kind
        assert harm[0] < 0.6 * harm[-1], kind


@pytest.mark.parametrize("degradation", EVERY, ids=lambda each: each.kind)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (7, 3), (1, 41), (33, 32), (119, 161)])
def test_frames_of_any_size_keep_it(degradation: Degradation, shape: tuple[int, int]) -> None:
    frame = picture(*shape)
    before = frame.copy()
    first, second = (degradations.degraded(frame, degradation) for _ in range(2))
    assert first.shape == frame.shape
    assert first.dtype == np.uint8
    assert (first == second).all()
    assert (frame == before).all()


def test_an_odd_side_is_cut_where_it_was_padded() -> None:
    frame = picture(121, 161)
    degraded = degradations.degraded(frame, Degradation("h264", 10))
    assert differing(degraded, frame)[-2:].mean() < 3 * differing(degraded, frame).mean()


# ------------------------------------------------------------------------------------------------- reading
@pytest.fixture
def frames(tmp_path: Path) -> list[Frame]:
    listed = []
    for index in range(5):
        file = tmp_path / f"{index}.png"
        Image.fromarray(picture(60, 80, index)).save(file)
        listed.append(Frame(file.name, file, index % 2, None, ""))
    return listed


def test_one_decoding_serves_all_levels_and_all_detectors(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    changed: list[Degradation] = []
    real_decode, real_change = decoding._decoded, degradations.degraded

    def decode(file: Any) -> Any:
        decoded.append(file)
        return real_decode(file)

    def change(frame: Picture, degradation: Degradation) -> Picture:
        changed.append(degradation)
        return real_change(frame, degradation)

    monkeypatch.setattr(decoding, "_decoded", decode)
    monkeypatch.setattr(degradations, "degraded", change)
    inputs = [InputSpec(32), InputSpec(48, "pad")]
    specs: list[AnySpec] = [*inputs, *(DegradedSpec(spec, degradation) for spec in inputs for degradation in EVERY)]
    batches = list(datasets.read_for_each(frames, specs, 2))
    assert sorted(decoded) == sorted(frame.file for frame in frames)
    assert len(changed) == len(frames) * len(EVERY)
    assert [len(batch[specs[0]]) for batch in batches] == [2, 2, 1]
    for spec in specs[len(inputs) :]:
        assert isinstance(spec, DegradedSpec)
        whole = np.asarray(Image.open(frames[3].file))
        expected = decoding.fit(real_change(whole, spec.degradation), spec.spec)
        assert (batches[1][spec][1] == expected.transpose(2, 0, 1)).all()


def test_a_frame_that_cannot_be_changed_is_named(frames: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(frame: Picture, degradation: Degradation) -> Picture:
        raise ValueError("it is too wide")

    monkeypatch.setattr(degradations, "degraded", refuse)
    with pytest.raises(UserError, match=r"0\.png: jpeg 50 can't be applied: it is too wide; leave it out of"):
        list(datasets.read_for_each(frames, [DegradedSpec(InputSpec(32), EVERY[0])], 2))


# ----------------------------------------------------------------------------------------- what is available
def test_a_build_without_the_encoder_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert h264.unavailable() == ""

    def missing(name: str, mode: str) -> None:
        raise ValueError(name)

    monkeypatch.setattr(av, "Codec", missing)
    assert "built without libx264: `pip install --force-reinstall av`" in h264.unavailable()
    monkeypatch.setitem(sys.modules, "av", None)
    assert "PyAV can't be imported" in h264.unavailable()


def test_only_h264_imports_pyav() -> None:
    code = (
        "import sys, numpy as np; from bench.datasets import degradations as d; from bench.records import Degradation\n"
        "frame = np.zeros((20, 20, 3), np.uint8)\n"
        "for kind, level in (('jpeg', 50), ('resize', .5), ('blur', 1.5)):\n"
        "    assert not d.unavailable(kind); d.degraded(frame, Degradation(kind, level)); d.versions_of(kind)\n"
        "d.versions_of('h264'); assert 'av' not in sys.modules, 'av'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_become_levels_in_their_order() -> None:
    settings = RobustnessSettings.model_validate({"h264": [40, 23], "jpeg": [90, 50], "blur": [2, 0.5]})
    titles = [degradation.title for degradation in settings.degradations]
    assert titles == ["jpeg 90", "jpeg 50", "blur 2", "blur 0.5", "h264 40", "h264 23"]
    kinds: set[DegradationKind] = {"jpeg", "resize", "blur", "h264"}
    assert set(RobustnessSettings.model_fields) == kinds
