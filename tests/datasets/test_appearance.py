"""What is measured of a picture while it is decoded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from bench import datasets
from bench.records import Frame, InputSpec


def looks_of(path: Path) -> datasets.Appearance:
    """What a file looks like, as the reader of frames tells it."""
    looks: dict[str, datasets.Appearance] = {}
    frame = Frame(path.name, path, 0, None, "")
    for _ in datasets.read_for_each([frame], [InputSpec(32)], 1, look=lambda of, look: looks.update({of.path: look})):
        pass
    return looks[path.name]


def drawn(side: int = 96) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    return Image.fromarray(pixels)


def test_brightness_is_the_mean_grey_level(tmp_path: Path) -> None:
    drawn().save(tmp_path / "a.png")
    grey = np.asarray(drawn().convert("L"), np.float64).mean()
    assert looks_of(tmp_path / "a.png").brightness == pytest.approx(grey, abs=0.6)


def test_a_blurred_picture_is_less_sharp(tmp_path: Path) -> None:
    picture = drawn(600)
    picture.save(tmp_path / "sharp.png")
    picture.filter(ImageFilter.GaussianBlur(4)).save(tmp_path / "blurred.png")
    assert looks_of(tmp_path / "blurred.png").sharpness < looks_of(tmp_path / "sharp.png").sharpness / 2


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 90, 95])
def test_the_quality_of_a_jpeg_is_that_which_wrote_it(tmp_path: Path, quality: int) -> None:
    drawn().save(tmp_path / "a.jpg", quality=quality)
    assert looks_of(tmp_path / "a.jpg").jpeg_quality == quality


def test_other_pictures_have_no_quality(tmp_path: Path) -> None:
    drawn().convert("L").save(tmp_path / "grey.jpg", quality=40)
    drawn().save(tmp_path / "a.png")
    assert looks_of(tmp_path / "grey.jpg").jpeg_quality == 40
    assert looks_of(tmp_path / "a.png").jpeg_quality is None
