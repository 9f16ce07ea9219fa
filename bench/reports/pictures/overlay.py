"""One frame with what speaks for its predicted class drawn over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

STRONGEST_ALPHA = 0.6
# Under 1, so that a variant that finds a fifth of what another finds in the same frame is still seen to find it.
_FADING = 0.7
# From weak to strong, RGB: red to yellow, blue to cyan. Lightness rises along both, and the two
# stay apart with every common colour vision.
COLOURS = {"fake": ((200, 30, 30), (255, 217, 59)), "real": ((31, 79, 216), (56, 232, 255))}


def supporting(cam: NDArray[np.floating], fake: bool) -> NDArray[np.floating]:
    """The part of a signed map that speaks for the predicted class, in logits, nowhere negative."""
    support: NDArray[np.floating] = np.maximum(cam if fake else -cam, 0)
    return support


def draw(pixels: NDArray[np.uint8], cam: NDArray[np.floating] | None, fake: bool, scale: float) -> Image:
    """`pixels` [h, w, 3] under its map; `scale` is the strength that gets the strongest colour.

    The signed map is up-sampled before it is cut at zero, so that its zero line stays where it is. A line in
    the strong colour, dashed for real, goes around what is at least half as strong as the map's own strongest place.
    """
    from PIL import Image

    side = "fake" if fake else "real"
    if cam is None:
        return _captioned(Image.fromarray(pixels), "no heatmap for this family")
    if not supporting(cam, fake).max(initial=0) > 0:
        return _captioned(Image.fromarray(pixels), f"nothing speaks for {side}")
    height, width = pixels.shape[:2]
    colour, alpha = shades(cam, fake, scale, (width, height))
    return Image.fromarray((pixels * (1 - alpha) + colour * alpha).round().astype(np.uint8))


def shades(
    cam: NDArray[np.floating], fake: bool, scale: float, size: tuple[int, int]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Colour [h, w, 3], 0 to 255, and opacity [h, w, 1], 0 to 1, of a map drawn at `size`, (w, h).

    A line in the strong colour, dashed for real, goes around what is at least half as strong as the map's own
    strongest place.
    """
    from PIL import Image

    smooth = Image.fromarray(np.asarray(cam, np.float32)).resize(size, Image.Resampling.BICUBIC)
    support = supporting(np.asarray(smooth), fake)
    colour, alpha = _shaded(np.minimum(support / scale, 1)[..., None], fake)
    line = _outline(support >= support.max() / 2, dashed=not fake)
    colour[line], alpha[line] = COLOURS["fake" if fake else "real"][1], 1
    return colour, alpha


def colour_bar(width: int, height: int) -> NDArray[np.uint8]:
    """RGB [height, width, 3]: what maps look like over mid-grey, from the strongest for real to that for fake."""
    ramp = np.linspace(-1, 1, width)[None, :, None]
    halves = [_shaded(supporting(ramp, fake), fake) for fake in (False, True)]
    colour, alpha = (np.where(ramp > 0, fake, real) for real, fake in zip(*halves, strict=True))
    row = (128 * (1 - alpha) + colour * alpha).round().astype(np.uint8)
    return np.repeat(row, height, axis=0)


def _shaded(heat: NDArray[np.floating], fake: bool) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Colour and opacity of strengths from 0 to 1, [h, w, 1]."""
    weak, strong = (np.array(colour) for colour in COLOURS["fake" if fake else "real"])
    return weak + (strong - weak) * heat, STRONGEST_ALPHA * heat**_FADING


def _outline(inside: NDArray[np.bool_], *, dashed: bool) -> NDArray[np.bool_]:
    """The rim of what is inside, as wide as a line is well seen; along the picture's edge there is none."""
    from scipy.ndimage import binary_erosion

    width = max(1, round(min(inside.shape) / 120))
    rim: NDArray[np.bool_] = inside & ~binary_erosion(inside, iterations=width, border_value=1)
    if dashed:
        rows, columns = np.indices(inside.shape)
        rim &= (rows + columns) // (5 * width) % 2 == 0
    return rim


def _captioned(image: Image, caption: str) -> Image:
    """The caption on a dark band along the lower edge, as large as fits."""
    from PIL import ImageDraw, ImageFont

    size = max(image.height // 12, 8)
    while size > 8 and ImageFont.load_default(size).getlength(caption) > 0.94 * image.width:
        size -= 1
    band = image.height - round(1.6 * size)
    shaded = image.point(lambda value: value * 0.3).crop((0, band, image.width, image.height))
    image.paste(shaded, (0, band))
    middle = (image.width / 2, (band + image.height) / 2)
    ImageDraw.Draw(image).text(middle, caption, "white", ImageFont.load_default(size), anchor="mm")
    return image


def below(picture: Image, others: Sequence[Image]) -> Image:
    """A picture with others in a row below it, all of them together as wide as it is."""
    from PIL import Image

    side = picture.width // len(others)
    small = [other.resize((side, max(1, round(other.height * side / other.width)))) for other in others]
    sheet = Image.new("RGB", (picture.width, picture.height + small[0].height), "white")
    sheet.paste(picture, (0, 0))
    for index, other in enumerate(small):
        sheet.paste(other, (index * side, picture.height))
    return sheet
