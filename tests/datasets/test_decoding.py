"""Decoding: every mode, orientation and fit against Pillow and OpenCV; batches in order, threads that end."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

from bench.datasets import decode, decoding, read_batches
from bench.datasets.headers import dimensions, further_format
from bench.detectors.presets import PRESETS
from bench.errors import UserError
from bench.records import Filters, Frame, InputSpec, as_inputs
from tests.support.pace import limit

RAMP = np.linspace(0, 255, 32 * 24 * 3, dtype=np.uint8).reshape(32, 24, 3)
NATIVE = InputSpec(24)


def _smooth(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2.0), dtype=np.uint8)


def _saved(file: Path, pixels: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, **options)
    return file


# ---------------------------------------------------------------------------------------------- modes
def test_colour_jpeg_is_what_opencv_reads(tmp_path: Path) -> None:
    file = _saved(tmp_path / "a.jpg", _smooth(24, 24), quality=95)
    bgr = cv2.imread(str(file))
    assert bgr is not None
    assert np.abs(decode(file, NATIVE).astype(int) - bgr[..., ::-1]).max() <= 2


@pytest.mark.parametrize(
    ("mode", "options"),
    [("L", {}), ("1", {}), ("P", {}), ("P", {"transparency": 3}), ("LA", {}), ("RGBA", {}), ("RGB", {})],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    Image.fromarray(RAMP[:24]).convert(mode).save(tmp_path / "a.png", **options)
    frame = decode(tmp_path / "a.png", NATIVE)
    bgr = cv2.imread(str(tmp_path / "a.png"))
    assert bgr is not None
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, bgr[..., ::-1])


def test_transparency_is_dropped_not_blended(tmp_path: Path) -> None:
    pixels = np.dstack([RAMP[:24], np.zeros((24, 24), dtype=np.uint8)])
    np.testing.assert_array_equal(decode(_saved(tmp_path / "a.png", pixels), NATIVE), RAMP[:24])


def test_cmyk_jpeg(tmp_path: Path) -> None:
    file = _saved(tmp_path / "a.jpg", _smooth(24, 24), "CMYK", quality=95)
    bgr = cv2.imread(str(file))
    assert bgr is not None
    assert np.abs(decode(file, NATIVE).astype(int) - bgr[..., ::-1]).mean() < 4


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 24 * 24).reshape(24, 24).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), wide)
    expected = np.round(wide / 257.0).astype(np.uint8)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", NATIVE), np.dstack([expected] * 3))


def test_first_picture_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (24, 24), (200, 0, 0)), Image.new("RGB", (24, 24), (0, 0, 200))
    for name in ("a.webp", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
        assert decode(tmp_path / name, NATIVE)[5, 5].tolist() == [200, 0, 0]


@pytest.mark.parametrize("suffix", ["bmp", "gif", "tif", "jp2", "j2k", "avif", "ppm", "pgm", "pbm"])
def test_further_formats_are_what_opencv_or_pillow_read(tmp_path: Path, suffix: str) -> None:
    pixels = _smooth(24, 24)
    file = _saved(tmp_path / f"a.{suffix}", pixels, {"pgm": "L", "pbm": "1"}.get(suffix))
    expected = cv2.imread(str(file)) if suffix not in ("gif", "j2k", "jp2", "avif") else None
    if expected is None:
        expected = np.asarray(Image.open(file).convert("RGB"))[..., ::-1]
    np.testing.assert_array_equal(decode(file, NATIVE), expected[..., ::-1])
    data = file.read_bytes()
    assert further_format(data)
    assert decoding.size_of(data) == (24, 24)
    for length in (len(data) // 10, len(data) // 2, len(data) - 9):
        assert _noticed(data[:length]), "a part of a file is no frame"


def _noticed(data: bytes) -> bool:
    try:
        dimensions(data)
        decoding.size_of(data)
    except ValueError:
        return True
    return bool(decoding.fault(data))


def test_no_format_that_starts_a_program_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _saved(tmp_path / "a.eps", RAMP)
    file.rename(tmp_path / "a.png")
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("started"))
    with pytest.raises(UserError, match="can't be decoded"):
        decode(tmp_path / "a.png", NATIVE)
    assert decoding.FORMATS == ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "JPEG2000", "AVIF", "PPM")


def test_numbers_of_which_nobody_knows_what_is_white(tmp_path: Path) -> None:
    for pixels in (np.ones((24, 24), np.float32), np.full((24, 24), 70_000, np.int32)):
        with pytest.raises(UserError, match="expected 8 or 16 bits a channel"):
            decode(_saved(tmp_path / "a.tif", pixels), NATIVE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    # Where the upright picture's top left corner lies in a file of each orientation.
    upright = np.zeros((24, 24, 3), dtype=np.uint8)
    upright[:12, :12] = (255, 255, 255)
    upright[:12, 12:] = (128, 128, 128)
    undo: dict[int, Any] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(undo[orientation](upright))
    file = _saved(tmp_path / f"a.{suffix}", stored, exif=exif, quality=95)
    corners = decode(file, NATIVE)[3:24:18, 3:24:18].mean(axis=2)
    np.testing.assert_allclose(corners, [[255, 128], [0, 0]], atol=3)


# ----------------------------------------------------------------------------------------------- fits
@pytest.mark.parametrize(
    ("interpolation", "flag"),
    [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC), ("area", cv2.INTER_AREA)],
)
def test_stretch_is_opencv_resize(
    tmp_path: Path, interpolation: Literal["bilinear", "bicubic", "area"], flag: int
) -> None:
    file = _saved(tmp_path / "a.png", RAMP)
    expected = cv2.resize(RAMP, (17, 17), interpolation=flag)
    np.testing.assert_array_equal(decode(file, InputSpec(17, "stretch", interpolation)), expected)


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (40, 40), (17, 200)])
def test_crop_covers_what_torchvision_covers(tmp_path: Path, shape: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    pixels = _smooth(*shape)
    frame = decode(_saved(tmp_path / "a.png", pixels), InputSpec(64, "crop"))
    covered = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(64)])
    expected = np.asarray(covered(Image.fromarray(pixels)))
    assert frame.shape == (64, 64, 3)
    assert np.abs(frame.astype(int) - expected).max() <= 2  # upscaled, so both are plain bilinear


@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (1, 40)])
def test_pad_fills_bottom_and_right_with_black(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 200, dtype=np.uint8)
    frame = decode(_saved(tmp_path / "a.png", pixels), InputSpec(60, "pad"))
    height, width = (max(1, 60 * side // 40) for side in shape)
    assert frame.shape == (60, 60, 3)
    assert (frame[:height, :width] == 200).all()
    assert not frame[height:].any()
    assert not frame[:, width:].any()


@pytest.mark.parametrize("shape", [(40, 61), (161, 140), (33, 17), (500, 300), (17, 200)])
@pytest.mark.parametrize("kind", ["pil-bilinear", "pil-bicubic"])
def test_pillows_filters_are_torchvisions(tmp_path: Path, kind: Any, shape: tuple[int, int]) -> None:
    """To the bit, on pictures with edges that are made smaller and larger."""
    transforms = pytest.importorskip("torchvision.transforms")
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    file = _saved(tmp_path / "a.png", pixels)
    mode = transforms.InterpolationMode(kind.removeprefix("pil-"))
    whole = transforms.Resize((64, 64), mode)(Image.fromarray(pixels))
    np.testing.assert_array_equal(decode(file, InputSpec(64, "stretch", kind)), np.asarray(whole))
    cut = transforms.Compose([transforms.Resize(64, mode), transforms.CenterCrop(64)])(Image.fromarray(pixels))
    np.testing.assert_array_equal(decode(file, InputSpec(64, "crop", kind)), np.asarray(cut))


@pytest.mark.parametrize("shape", [(300, 461), (224, 224), (100, 90), (256, 256)])
def test_the_preset_of_timm_is_timms_evaluation(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    config: Any = resolve_data_config({"model": ""})  # type: ignore[no-untyped-call]
    transform: Any = create_transform(**config, is_training=False, normalize=False)
    expected = np.asarray(transform(Image.fromarray(pixels)).permute(1, 2, 0))
    decoded = decode(_saved(tmp_path / "a.png", pixels), PRESETS["timm"].input_spec)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (380, 380), (500, 301), (90, 380)])
def test_the_dfdc_winners_square(tmp_path: Path, shape: tuple[int, int]) -> None:
    """Written anew from what its code does: the long side to 380 px, by another filter in each direction."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected, (height, width) = np.zeros((380, 380, 3), np.uint8), shape
    scale = 380 / max(shape)
    size = (380, int(height * scale)) if width > height else (int(width * scale), 380)
    small = pixels if scale == 1 else cv2.resize(
        pixels, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    )  # fmt: skip
    top, left = (380 - small.shape[0]) // 2, (380 - small.shape[1]) // 2
    expected[top : top + small.shape[0], left : left + small.shape[1]] = small
    np.testing.assert_array_equal(decode(_saved(tmp_path / "a.png", pixels), PRESETS["dfdc"].input_spec), expected)


def _opencvs(flag: int, side: int) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    return lambda pixels: np.asarray(cv2.resize(pixels, (side, side), interpolation=flag), dtype=np.uint8)


def _torchvisions_square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    transforms = pytest.importorskip("torchvision.transforms")
    return np.asarray(transforms.Resize((224, 224))(Image.fromarray(pixels)))


def _ganfingerprints(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    transforms = pytest.importorskip("torchvision.transforms")
    covered = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(256)])
    return np.asarray(covered(Image.fromarray(pixels)))


def _resnexts(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The long side to 224 px, what is left black."""
    height, width = (side * 224 // max(pixels.shape[:2]) for side in pixels.shape[:2])
    square = np.zeros((224, 224, 3), np.uint8)
    square[:height, :width] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return square


@pytest.mark.parametrize("shape", [(40, 61), (161, 140), (256, 256), (224, 224), (500, 301), (299, 300)])
@pytest.mark.parametrize(
    ("preset", "whole"),
    [
        ("fsbi", _opencvs(cv2.INTER_LINEAR, 380)), ("sbi", _opencvs(cv2.INTER_LINEAR, 380)),
        ("imagenet", _torchvisions_square), ("deepfakebench", _opencvs(cv2.INTER_CUBIC, 256)),
        ("effort", _opencvs(cv2.INTER_CUBIC, 224)), ("icpr2020", _opencvs(cv2.INTER_LINEAR, 224)),
        ("ganfingerprint", _ganfingerprints), ("resnext-dfdc", _resnexts),
    ],
)  # fmt: skip
def test_presets_are_what_their_libraries_make(
    tmp_path: Path, preset: str, whole: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], shape: tuple[int, int]
) -> None:
    """To the bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    decoded = decode(_saved(tmp_path / "a.png", pixels), PRESETS[preset].input_spec)
    np.testing.assert_array_equal(decoded, whole(pixels))


def test_ids_of_other_frames_are_as_old_as_ever() -> None:
    """`pad` is part of them only where it is used."""
    assert as_inputs(InputSpec(8)) == {"size": 8, "fit": "stretch", "interpolation": "bilinear"}
    assert as_inputs(InputSpec(8, "pad"))["pad"] == "corner"
    given = as_inputs(InputSpec(8, "crop", Filters("area", "pil-bicubic")))
    assert given == {"size": 8, "fit": "crop", "interpolation": {"down": "area", "up": "pil-bicubic"}}


@pytest.mark.parametrize("long", [5_000_000, 4_999_999])
@pytest.mark.parametrize("upright", [False, True])
def test_a_strip_is_cut_before_it_is_resized(tmp_path: Path, long: int, upright: bool) -> None:
    """Whole, it would take gigabytes; what is seen is its middle all the same."""
    strip = np.zeros((1, long), dtype=np.uint8)
    strip[:, long // 2 :] = 255
    file = _saved(tmp_path / "a.png", np.ascontiguousarray(strip.T if upright else strip), compress_level=1)
    frame = decode(file, InputSpec(32, "crop"))[..., 0]
    assert frame.shape == (32, 32)
    row = (frame.T if upright else frame)[0].astype(int)
    # One pixel of the strip is as wide as the frame: of two in the middle, or of one, there are halves.
    expected = cv2.resize(strip[:, long // 2 - 8 : long // 2 + 8 + long % 2], (512 + 32 * (long % 2), 32))
    start = (expected.shape[1] - 32) // 2
    np.testing.assert_allclose(row, expected[0, start : start + 32], atol=2)


@pytest.mark.parametrize("shape", [(37, 61), (37, 591), (591, 37)])
def test_ordinary_pictures_are_cut_as_if_resized_whole(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = _smooth(*shape)
    height, width = (int(24 * side / 37) for side in shape)
    top, left = round((height - 24) / 2), round((width - 24) / 2)
    whole = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    frame = decode(_saved(tmp_path / "a.png", pixels), InputSpec(24, "crop"))
    np.testing.assert_array_equal(frame, whole[top : top + 24, left : left + 24])


def test_a_frame_that_cannot_be_resized_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise cv2.error("Failed to allocate 15000000000 bytes")

    monkeypatch.setattr(cv2, "resize", full)
    with pytest.raises(UserError, match=r"a\.png: can't be decoded: Failed to allocate"):
        decode(_saved(tmp_path / "a.png", RAMP), InputSpec(17))


# -------------------------------------------------------------------------------------------- batches
def _frames(folder: Path, count: int) -> list[Frame]:
    files = [_saved(folder / f"{i}.png", np.full((8, 8, 3), i, dtype=np.uint8)) for i in range(count)]
    return [Frame(file.name, file, None, None, "") for file in files]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 100])
def test_batches_keep_the_order(tmp_path: Path, batch_size: int, threads: int) -> None:
    frames = _frames(tmp_path, 21)
    batches = list(read_batches(frames, InputSpec(12), batch_size, threads=threads))
    assert all(b.flags["C_CONTIGUOUS"] and b.dtype == np.uint8 and b.shape[1:] == (3, 12, 12) for b in batches)
    assert [len(b) for b in batches] == [min(batch_size, 21 - i) for i in range(0, 21, batch_size)]
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == list(range(21))


def test_planes_are_red_green_blue(tmp_path: Path) -> None:
    file = _saved(tmp_path / "a.png", np.full((8, 8, 3), (10, 20, 30), dtype=np.uint8))
    (batch,) = read_batches([Frame("a", file, None, None, "")], InputSpec(8), 4)
    assert batch[0, :, 2, 2].tolist() == [10, 20, 30]


def test_no_frames_no_batches() -> None:
    assert list(read_batches([], InputSpec(8), 4)) == []


def _decoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_reads_ahead_but_only_so_far_and_threads_end_with_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = _frames(tmp_path, 60)
    started: list[Path] = []
    original = decoding._decoded

    def noted(file: Path) -> Any:
        started.append(file)
        return original(file)

    monkeypatch.setattr(decoding, "_decoded", noted)
    batches = read_batches(frames, InputSpec(8), 4, threads=2)
    next(batches)
    deadline = time.monotonic() + limit(5)
    while len(started) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 8 <= len(started) <= 12
    assert _decoders()
    batches.close()  # type: ignore[attr-defined]
    assert not _decoders()
    assert len(started) <= 12


def test_a_frame_that_cannot_be_decoded_is_named_and_threads_end(tmp_path: Path) -> None:
    frames = _frames(tmp_path, 12)
    frames[5].file.write_bytes(frames[5].file.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"5\.png: can't be decoded"):
        list(read_batches(frames, InputSpec(8), 4))
    assert not _decoders()
    frames[5].file.unlink()
    with pytest.raises(UserError, match=r"5\.png: can't be decoded: No such file"):
        decode(frames[5].file, InputSpec(8))


# -------------------------------------------------------------------------------------------- headers
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"}),
    ],
)
def test_dimensions_are_those_pillow_finds_and_any_cut_is_noticed(kind: str, options: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(_smooth(300, 517)).save(buffer, kind, **options)
    data = buffer.getvalue()
    assert dimensions(data) == Image.open(io.BytesIO(data)).size == (517, 300)
    for length in [*range(64), len(data) // 2, len(data) - 5]:
        with pytest.raises(ValueError, match=r"cut off|broken|not a|empty"):
            dimensions(data[:length])


def test_pillow_warns_of_nothing(tmp_path: Path) -> None:
    """Its warnings would stand on the terminal before our own line: of EXIF data cut short, for example."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\xff\0\0\0\xf0\0\0\0\x12\x01\x05\0\x01\0\0\0\xf0\xff\0\0"
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", exif=exif)
    script = (
        "import warnings; from pathlib import Path; from PIL import Image\n"
        "from bench.datasets.decoding import fault\n"
        "data = Path('x.jpg').read_bytes()\n"
        "if __import__('sys').argv[1:]: Image.open('x.jpg').getexif().get(1)\n"
        "print(fault(data))"
    )
    plain, ours = (
        subprocess.run([sys.executable, "-c", script, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        for words in (["plainly"], [])
    )
    assert "Warning" in plain.stderr
    assert (ours.stdout, ours.stderr) == ("\n", "")
