"""The report from a made-up run: to the letter, with nasty names, and what becomes of its files.

After a wanted change of the report, renew the golden files and read their difference:
`RENEW_GOLDEN=1 python -m pytest tests/test_reports.py && git diff tests/golden`.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from numpy.typing import NDArray
from PIL import Image

from bench.errors import UserError
from bench.files import write_atomically
from bench.records import (
    OUTCOMES,
    Conditions,
    Executed,
    Footprint,
    Measurement,
    PeakMemory,
    Preprocessing,
    Run,
    SplitSummary,
    VariantResult,
)
from bench.reports import Evidence, bundle, figures, render, summary
from bench.reports.gallery import Shown, overlay_path, verdicts
from bench.reports.overlay import draw, supporting
from bench.reports.text import change, escape, shortened, signed
from bench.results.score import auc_standard_error, p_fake, points, roc

GOLDEN = Path(__file__).parent / "golden"
SIZE = 32
CPU = Executed("onnxruntime", "cpu", "Xeon", ("CPUExecutionProvider",), "fp32", "fp32", threads=2)
NASTY = "a | b/`c` [d](e) #1?<i>_%41*\n(2).png"


def evidence(frames: Sequence[str], noise: float, cam_side: int = 4) -> Evidence:
    """Made-up predictions: two of five frames real, the last four rows validation."""
    rng = np.random.default_rng(5)
    labels = (np.arange(len(frames)) % 5 < 3).astype(int)
    logits = (np.array([0.4, -0.4])[labels] + rng.normal(0, noise, len(frames))).astype(np.float32)
    cam = rng.normal(0, 1, (len(frames), cam_side, cam_side)).astype(np.float32)
    cam -= 2 * logits[:, None, None]
    split = np.where(np.arange(len(frames)) < len(frames) - 4, "test", "validation")
    predictions = pd.DataFrame(
        {
            "frame": list(frames),
            "split": split,
            "label": labels,
            "source": None,
            "p_fake": p_fake(logits, -logits),
            "logit_real": logits,
            "logit_fake": -logits,
        }
    )
    return judged(predictions, cam)


def judged(predictions: pd.DataFrame, cam: NDArray[np.float32] | None, threshold: float = 0.5) -> Evidence:
    test = predictions[predictions["split"] == "test"]
    labels, scores = test["label"].to_numpy(), test["p_fake"].to_numpy()
    score = points(labels, scores, threshold)
    curve = None if score.auc is None else roc(labels, scores)[:2]
    return Evidence(score, auc_standard_error(score), curve, predictions, cam)


def timed(runtime: str, single_ms: float, calls: int = 40) -> tuple[Measurement, ...]:
    rounds = tuple(
        tuple(single_ms * (1 + 0.01 * ((number + index) % 7)) for index in range(calls // 10)) for number in range(10)
    )
    sixfold = tuple(tuple(6 * sample for sample in samples) for samples in rounds)
    return (
        Measurement(runtime, "cpu", 1, rounds, peak_memory=PeakMemory(512.0)),
        Measurement(runtime, "cpu", 8, sixfold, peak_memory=PeakMemory(640.0)),
    )


def made_up(frames: Sequence[str]) -> tuple[Run, dict[str, Evidence]]:
    """Four variants: a baseline, a smaller one, an int8 one that was simulated, one that failed."""
    half = dataclasses.replace(CPU, runtime="pytorch", providers=(), stored="fp16")
    int8 = dataclasses.replace(CPU, stored="int8", int8="simulated", int8_operators=0, heavy_operators=131)
    elsewhere = timed("pytorch", 25.0)
    variants = (
        VariantResult(
            "baseline",
            "b" * 64,
            (),
            "ok",
            None,
            Footprint(114_000_000, 28_344_882, 9_860_000_000),
            CPU,
            timed("onnxruntime", 10.0),
            timed("onnxruntime", 10.0),
        ),
        VariantResult(
            "q16",
            "c" * 64,
            ("cast: fp16",),
            "ok",
            None,
            Footprint(57_000_000, 28_344_882, 9_860_000_000),
            half,
            timed("pytorch", 20.0, 700),
            elsewhere,
            Conditions("2026-01-02T03:04:05+00:00", 61.0, 4, {"cpu": "Xeon"}, 0.25, (2600.0, 2500.0)),
            ("weights were upcast on loading",),
        ),
        VariantResult(
            "q8",
            "d" * 64,
            ("quantize: int8",),
            "ok",
            None,
            Footprint(114_200_000, None, None),
            int8,
            timed("onnxruntime", 30.0),
        ),
        VariantResult(
            "q32-p50", "e" * 64, ("prune: 0.5", "recover"), "failed", "recover: loss is NaN\nat step 12 | lower `rate`"
        ),
    )
    test = len(frames) - 4
    run = Run(
        experiment="demo",
        detector="demo",
        architecture="efficientnet_b5",
        preprocessing=Preprocessing(size=SIZE, channels="bgr", wavelet="sym2"),
        threshold=0.5,
        gallery_top=2,
        gallery_heatmaps="gallery",
        frames={"test": SplitSummary("datasets/demo/test", test, test * 3 // 5, test - test * 3 // 5, test, "5" * 64)},
        variants=variants,
        provenance={"weights": "w" * 64, "machine": "Linux, 2 cores", "command": "bench run demo --only a|b"},
    )
    return run, {"baseline": evidence(frames, 0.5), "q16": evidence(frames, 0.5), "q8": evidence(frames, 1.5, 3)}


FRAMES = [f"{'fake' if index % 5 < 3 else 'real'}/{index:04}.png" for index in range(44)]


def pixels(frame: str) -> NDArray[np.uint8]:
    return np.full((SIZE, SIZE, 3), len(frame) % 256, np.uint8)


def rendered(root: Path, run: Run, evidences: dict[str, Evidence]) -> tuple[Path, Path]:
    results, report = root / "results" / run.experiment, root / "reports" / run.experiment
    render(run, evidences, pixels, results, report)
    return results, report


def tokens(markdown: str) -> list[Token]:
    return [
        inner for one in MarkdownIt("gfm-like", {"linkify": False}).parse(markdown) for inner in one.children or [one]
    ]


def images(report: Path) -> list[str]:
    found = tokens((report / "report.md").read_text(encoding="utf-8"))
    return [str(token.attrs["src"]) for token in found if token.type == "image"]


def overlays(results: Path) -> set[str]:
    return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def rounded(numbers: str) -> object:
    """JSON with nine digits a number: the last ones differ between versions of the libraries."""
    return json.loads(numbers, parse_float=lambda digits: float(f"{float(digits):.9g}"))


def test_golden(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *made_up(FRAMES))
    found = {name: (report / name).read_text(encoding="utf-8") for name in ("report.md", "scores.json")}
    if os.environ.get("RENEW_GOLDEN"):
        for name, text in found.items():
            (GOLDEN / name).write_text(text, encoding="utf-8")
    golden = {name: (GOLDEN / name).read_text(encoding="utf-8") for name in found}
    assert found["report.md"] == golden["report.md"]
    assert rounded(found["scores.json"]) == rounded(golden["scores.json"])


def test_every_link_leads_to_a_file_whatever_frames_are_called(tmp_path: Path) -> None:
    frames = [*FRAMES]
    frames[0], frames[3] = NASTY, "../../../../../../../../outside/x.png"
    results, report = rendered(tmp_path, *made_up(frames))
    linked = images(report)
    assert len(linked) > 10
    for target in linked:
        assert (report / unquote(target)).is_file(), target
    assert not (tmp_path / "outside").exists()
    assert all(path.is_relative_to(tmp_path / "results") for path in results.rglob("*.jpg"))


@pytest.mark.parametrize(
    "name", [NASTY, "<script>alert(1)</script>", "a\\|b", "$x$ ~~y~~ **z** &lt;", "![x](y)", "\udcff"]
)
def test_names_are_data_and_never_markup(name: str) -> None:
    cell = tokens(f"| a | b |\n| --- | --- |\n| {escape(name)} | _{escape(name)}_ |\n")
    shown = [token.content for token in cell if token.type == "text"][2:]
    assert not {"code_inline", "link_open", "html_inline", "image", "s_open", "strong_open"} & {
        one.type for one in cell
    }
    expected = re.sub(r"\s+", " ", name).replace("\udcff", "\ufffd")
    joined = "".join(token.content for token in cell if token.type in ("text", "text_special"))
    assert joined == f"ab{expected}{expected}", shown


def test_galleries_rank_by_score_and_then_by_path(tmp_path: Path) -> None:
    run, evidences = made_up(FRAMES)
    predictions = evidences["baseline"].predictions.copy()
    predictions.loc[[10, 5, 0], "p_fake"] = 0.99999
    predictions.loc[3, "p_fake"] = 0.99998
    evidences["baseline"] = judged(predictions, evidences["baseline"].cam)
    _, report = rendered(tmp_path, run, evidences)
    of_baseline = [target for target in images(report) if "/baseline/" in target]
    assert [target.rsplit("/", 1)[-1] for target in of_baseline[:2]] == ["0000.png.jpg", "0005.png.jpg"]
    falses = [target for target in of_baseline if "false_positives" in target]
    assert falses[0].endswith("real/0003.png.jpg")


def test_galleries_count_as_the_confusion_does_also_at_the_threshold_itself() -> None:
    predictions = evidence(FRAMES, 0.5).predictions
    predictions.loc[[0, 3], "p_fake"] = 0.5
    found = judged(predictions, None)
    outcomes = verdicts({"baseline": found}, 0.5)["baseline"]
    expected = (found.score.tp, found.score.fn, found.score.fp, found.score.tn)
    assert tuple(len(outcomes[outcome]) for outcome in OUTCOMES) == expected
    assert "real/0003.png" in {shown.frame for shown in outcomes["false_positives"]}


def test_overlays_follow_the_threshold_and_unchanged_ones_are_kept(tmp_path: Path) -> None:
    run, evidences = made_up(FRAMES)
    results, report = rendered(tmp_path, run, evidences)
    before = {path: (results / path).stat().st_mtime_ns for path in overlays(results)}

    def unneeded(frame: str) -> NDArray[np.uint8]:
        raise AssertionError(f"{frame} was read again")

    render(run, evidences, unneeded, results, report)
    assert before == {path: (results / path).stat().st_mtime_ns for path in overlays(results)}
    strict = {name: judged(one.predictions, one.cam, 1.1) for name, one in evidences.items()}
    render(dataclasses.replace(run, threshold=1.1), strict, pixels, results, report)
    assert {path.split("/")[2] for path in overlays(results)} == {"false_negatives", "true_negatives"}
    assert not (results / "baseline/result/true_positives/heatmap/fake").exists()
    assert "N/A | N/A" in (report / "report.md").read_text(encoding="utf-8")


def test_a_changed_map_is_drawn_again_and_a_failed_variant_keeps_none(tmp_path: Path) -> None:
    run, evidences = made_up(FRAMES)
    results, report = rendered(tmp_path, run, evidences)
    before = {path: (results / path).read_bytes() for path in overlays(results)}
    evidences["q8"] = dataclasses.replace(evidences["q8"], cam=None)
    failed = dataclasses.replace(run.variants[1], status="failed", reason="out of memory")
    run = dataclasses.replace(run, variants=(run.variants[0], failed, *run.variants[2:]))
    render(run, evidences, pixels, results, report)
    assert all((results / path).read_bytes() != before[path] for path in overlays(results) if path.startswith("q8"))
    assert not [path for path in overlays(results) if path.startswith("q16")]


def test_heatmaps_for_all_frames(tmp_path: Path) -> None:
    run, evidences = made_up(FRAMES)
    results, _ = rendered(tmp_path, dataclasses.replace(run, gallery_heatmaps="all"), evidences)
    assert len(overlays(results)) == 3 * 40


def test_nothing_speaks_and_no_map_are_written_onto_the_picture() -> None:
    grey = np.full((96, 96, 3), 120, np.uint8)
    nothing = np.asarray(draw(grey, np.full((3, 3), -1.0), fake=True, scale=1.0))
    assert (nothing[:70] == 120).all()
    assert nothing[84:].max() > 200
    assert (np.asarray(draw(grey, None, fake=True, scale=0.0))[84:] != 120).any()


def test_what_is_drawn_speaks_for_the_verdict_on_the_given_scale() -> None:
    cam = np.array([[2.0, -4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(supporting(cam, fake=True), [[2, 0], [0, 0]])
    np.testing.assert_array_equal(supporting(cam, fake=False), [[0, 4], [0, 0]])
    grey = np.full((32, 32, 3), 120, np.uint8)
    for fake, column in ((True, 0), (False, -1)):
        changed = np.abs(np.asarray(draw(grey, cam, fake, 4.0)).astype(int) - 120).sum(axis=2)
        assert changed[0, column] > 50
        assert changed[0, -1 - column] == 0
    weak, strong = (np.abs(np.asarray(draw(grey, cam, True, scale)).astype(int) - 120).sum() for scale in (20.0, 2.0))
    assert weak < strong / 2


def test_a_baseline_below_chance_warns_at_the_top(tmp_path: Path) -> None:
    run, evidences = made_up(FRAMES)
    swapped = evidences["baseline"].predictions.assign(label=lambda rows: 1 - rows["label"])
    _, report = rendered(tmp_path, run, {**evidences, "baseline": judged(swapped, None)})
    text = (report / "report.md").read_text(encoding="utf-8")
    assert "swapped" in text.split("## 1.")[0]


def test_frames_of_one_class_only_are_still_a_report(tmp_path: Path) -> None:
    run, evidences = made_up(FRAMES)
    only_fake = {name: judged(one.predictions.assign(label=1), one.cam) for name, one in evidences.items()}
    _, report = rendered(tmp_path, run, only_fake)
    assert "no variant has an AUC" in (report / "report.md").read_text(encoding="utf-8")
    assert json.loads((report / "scores.json").read_text())["variants"]["q8"]["auc_delta"] is None


def test_names_in_a_figure_do_not_overlap(tmp_path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    _, evidences = made_up(FRAMES)
    crowd = {f"variant-{index}": evidences["baseline"] for index in range(6)}
    figure = figures.scatter({name: 50 + 0.1 * index for index, name in enumerate(crowd)}, crowd, "size (MiB)")
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    boxes = [Text.get_window_extent(text, renderer) for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) == len(crowd)
    figure.savefig(tmp_path / "crowd.png")
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    file.write_text("old")

    def half(target: BinaryIO) -> None:
        target.write(b"new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(file, half)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.md", "old")]


def test_all_variants_failed_is_still_a_report(tmp_path: Path) -> None:
    run, _ = made_up(FRAMES)
    failed = tuple(dataclasses.replace(one, status="failed", reason="no") for one in run.variants)
    run = dataclasses.replace(run, variants=failed)
    _, report = rendered(tmp_path, run, {})
    row = json.loads((report / "scores.json").read_text())["variants"]["baseline"]
    assert (row["status"], row["size_mib"], row["confusion"]["tp"], row["measurements"]) == ("failed", None, None, [])
    assert "failed: no" in summary(run, {})


def test_names_as_long_as_file_systems_allow_have_overlays(tmp_path: Path) -> None:
    """The overlay's name adds ".jpg", so frames whose names are longest need another."""
    names = [f"{letter}/{'ä' * 125}{number:03d}.png" for letter in "ab" for number in range(4)]
    assert len(names[0].split("/")[1].encode()) == 257, "over the limit even without .jpg"
    paths = {overlay_path(tmp_path, "q8", Shown(name, 0, 0.9, True, "true_positives")) for name in names}
    assert len(paths) == len(names)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    short = overlay_path(tmp_path, "q8", Shown("a/b.png", 0, 0.9, True, "true_positives"))
    assert short.name == "b.png.jpg"


def test_scores_json_has_every_key_of_the_interface_for_every_variant(tmp_path: Path) -> None:
    _, report = rendered(tmp_path, *made_up(FRAMES))
    scores = json.loads((report / "scores.json").read_text())
    documented = (Path(__file__).parents[1] / "reports" / "README.md").read_text(encoding="utf-8")
    rows = scores["variants"].values()
    assert all(row.keys() == scores["variants"]["baseline"].keys() for row in rows)
    for key in (*scores, *scores["variants"]["baseline"]):
        assert f"`{key}`" in documented, key
    assert scores["variants"]["q8"]["speedup"] is None
    assert scores["variants"]["q16"]["speedup"] == pytest.approx(1.25, rel=0.02)
    assert scores["variants"]["q16"]["latency_ms"]["p99"] is not None
    assert scores["variants"]["baseline"]["latency_ms"]["p99"] is None


def test_bundle_is_whole_wherever_it_is_unpacked(tmp_path: Path) -> None:
    frames = [NASTY, *FRAMES[1:]]
    results, report = rendered(tmp_path, *made_up(frames))
    bundle(report, results, tmp_path / "demo.zip")
    with zipfile.ZipFile(tmp_path / "demo.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    unpacked = tmp_path / "elsewhere" / "demo"
    assert len(images(unpacked)) == len(images(report))
    for target in images(unpacked):
        assert Image.open(unpacked / unquote(target)).size[0] >= SIZE
        assert not target.startswith("..")
    assert (unpacked / "scores.json").is_file()
    next(results.rglob("*.jpg")).unlink()
    with pytest.raises(UserError, match="bench report demo"):
        bundle(report, results, tmp_path / "demo.zip")


def test_summary_fits_a_terminal() -> None:
    run, evidences = made_up(FRAMES)
    long = dataclasses.replace(run.variants[1], name="a-very-long-variant-name\x1b[31m")
    run = dataclasses.replace(run, variants=(run.variants[0], long, *run.variants[2:]))
    lines = summary(run, {long.name: evidences["q16"].score, **{k: v.score for k, v in evidences.items()}}).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert "+0.2%" in lines[3]
    assert "1.25x" in lines[2]
    assert "loss is NaN" in lines[-1]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (change(54.6, 108.79), "−49.8 %"),
        (change(108.99, 108.79), "+0.2 %"),
        (change(108.79, 108.79), "0.0 %"),
        (signed(-0.00001, 4), "0.0000"),
        (signed(-0.0215, 4), "−0.0215"),
        (shortened("real/portrait-of-somebody-0007.png"), "portrait-…ody-0007"),
        (shortened("a/b/id37_id3_0004.mp4.jpg"), "id37_id3_0004"),
    ],
)
def test_numbers_and_names_as_a_reader_wants_them(found: str, expected: str) -> None:
    assert found == expected


def test_rendering_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules.update(torch=None, onnxruntime=None, timm=None, onnx=None); import bench.reports;"
        "heavy = {'matplotlib', 'pandas', 'sklearn', 'jinja2', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_there_is_a_golden_gallery_for_every_outcome() -> None:
    golden = (GOLDEN / "report.md").read_text(encoding="utf-8")
    assert all(f"/{outcome}/heatmap/" in golden for outcome in OUTCOMES)
