"""Files from elsewhere that are read wrongly: their scores show it, and the report and the terminal say so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bench.detectors.presets import PRESETS
from bench.records import Predictions
from bench.results.score.agreement import agreement
from tests.conftest import quick_folder, write_workplace
from tests.pipeline.test_imports import detector_of, sharpen, write_experiment
from tests.support import foreign
from tests.support.command_line import bench

IMAGENET = PRESETS["imagenet"]
GIVEN = f"mean: {list(IMAGENET.mean)}, std: {list(IMAGENET.std)}, channels: rgb, wavelet: none"
VARIANTS = f"""
      baseline: []
      right: [import: {{file: imagenet.onnx, input: {{{GIVEN}}}}}]
      unlike: [import: imagenet.onnx]
      bytes: [import: bytes.onnx]
      swapped: [import: swapped.onnx]
      of-real: [import: {{file: one_logit.onnx, positive: real}}]
"""
UNLIKE = "its scores are further from the baseline's than compression takes them"
REVERSED = "its scores rank frames in nearly the reverse order of the baseline's"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What a run with such files prints, and its report."""
    with quick_folder(tmp_path_factory, "misread") as folder:
        write_workplace(folder)
        sharpen(folder)
        detector = detector_of(folder)
        onnx.save(foreign.in_statistics(detector, IMAGENET.mean, IMAGENET.std), folder / "imagenet.onnx")
        onnx.save(foreign.in_rgb_of_bytes(detector), folder / "bytes.onnx")
        onnx.save(foreign.swapped(detector), folder / "swapped.onnx")
        onnx.save(foreign.one_logit(detector), folder / "one_logit.onnx")
        write_experiment(folder, VARIANTS)
        code, printed = bench("run", "--no-timing")
        assert code == 0, printed
        report = (folder / "reports/first/report.md").read_text(encoding="utf-8").replace("\\", "")
    return " ".join(printed.split()), report


@pytest.mark.parametrize("where", [0, 1], ids=["terminal", "report"])
def test_a_wrong_guess_is_told(output: tuple[str, str], where: int) -> None:
    text = output[where]
    for name in ("unlike", "bytes"):
        sentence = text[text.index(f"{name}: {UNLIKE}") :].partition("preset")[0]
        assert "may want another `input:` (scale, mean, std, channels, layout), `output:` or `positive:`" in sentence
        assert "It was read as: input 'given' [n, 3, h, w], float32: times 1/255" in sentence
    for name in ("swapped", "of-real"):
        assert f"{name}: {REVERSED} (rank correlation -1.00" in text
    assert "may want another `positive:` (of one output) or `classes:` (of two)" in text
    assert text.count("It was read as: ") == 4
    assert "right: its scores" not in text


def predictions(logit_diff: NDArray[np.float64]) -> Predictions:
    return Predictions(1 / (1 + np.exp(-logit_diff)), None, None, logit_diff)


def test_what_compression_does_is_not_unlike() -> None:
    """Noise of a tenth of the spread, another temperature, saturation that leaves P(fake); another order is."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, 200)
    for variant in (logits + random.normal(0, 0.3, 200), 1.3 * logits, logits + 0.2, np.round(logits)):
        measured = agreement(predictions(logits), predictions(variant))
        assert measured is not None
        assert not measured.is_unlike
    other = agreement(predictions(logits), predictions(random.permutation(logits)))
    assert other is not None
    assert other.is_unlike
    assert not other.is_reversed
    # Nearly the reverse order, with all frames on one side: no exchange of classes.
    saturated = agreement(predictions(logits), predictions(9 - 0.1 * logits))
    assert saturated is not None
    assert saturated.is_unlike
    assert not saturated.is_reversed


def test_scores_that_hardly_differ_may_rank_otherwise() -> None:
    """Of a network that gives nearly every frame the same score, rounding decides the order."""
    random = np.random.default_rng(0)
    measured = agreement(predictions(random.normal(0, 1e-3, 200)), predictions(random.normal(0, 1e-3, 200)))
    assert measured is not None
    assert not measured.is_unlike


def test_equal_scores_have_no_ranks_and_few_frames_say_nothing() -> None:
    logits = np.linspace(-3, 3, 20)
    measured = agreement(predictions(logits), predictions(np.full(20, 9.0)))
    assert measured is not None
    assert measured.rank_correlation is None
    assert measured.is_unlike
    assert agreement(predictions(logits[:5]), predictions(-logits[:5])) is None
