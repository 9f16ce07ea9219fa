"""What tests of several commands begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import quick_folder, write_workplace
from tests.support.command_line import bench
from tests.support.portraits import picture


@pytest.fixture(scope="module")
def inspected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run's folder; portraits are among its frames, and beside them one that is wider than its face."""
    with quick_folder(tmp_path_factory, "inspected") as folder:
        write_workplace(folder)
        text = (folder / "experiments.yaml").read_text()
        text = text.partition("      q32-p50")[0].replace("size: 32}", "size: 64}")
        (folder / "experiments.yaml").write_text(text)
        for seed, label in ((1, "real"), (2, "fake")):
            Image.fromarray(picture(seed, 160)).save(folder / f"faces/test/{label}/portrait.png")
        wide = np.full((240, 360, 3), 90, np.uint8)
        wide[40:200, 100:260] = picture(3, 160)
        Image.fromarray(wide).save(folder / "wide.png")
        Image.fromarray(wide[:, ::-1]).save(folder / "mirrored.jpg")
        code, output = bench("run", "--no-timing")
        assert code == 0, output
        yield folder
