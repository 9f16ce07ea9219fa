"""Points of a picture lie where the fitted picture shows them."""

from __future__ import annotations

import numpy as np
import pytest

from bench.datasets import fit, fitted_points
from bench.records import InputSpec

SPECS = {
    "stretch": InputSpec(60),
    "crop": InputSpec(60, "crop", "pil-bilinear"),
    "crop of a part": InputSpec(60, "crop", "pil-bicubic", crop_pct=0.875),
    "pad, corner": InputSpec(60, "pad", "area"),
    "pad, centre": InputSpec(60, "pad", "area", pad="centre"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("size", [(120, 180), (200, 140), (60, 60), (40, 90), (30, 600)])
def test_a_point_is_where_its_square_is(spec: InputSpec, size: tuple[int, int]) -> None:
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    x, y, reach = width // 2 + 3, height // 2 - 4, max(2, min(size) // 10)
    picture[y - reach : y + reach, x - reach : x + reach] = 255
    fitted = fit(picture, spec)[..., 0].astype(float)
    rows, columns = np.indices(fitted.shape) + 0.5
    (point,) = fitted_points([(x, y)], height, width, spec)
    centre = (float((columns * fitted).sum() / fitted.sum()), float((rows * fitted).sum() / fitted.sum()))
    assert point == pytest.approx(centre, abs=0.75)
