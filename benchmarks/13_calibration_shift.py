"""How far frames of other kinds lie outside an int8 detector's ranges, what that costs it, and what bench warns of.

The demo detector is quantised with calibration frames as the demo set has them, and judged on frames drawn afresh: of
the same kind, and darker, blurred, compressed, drawn otherwise … For each kind: what int8 adds to the logit difference
(noise, measured against the float detector), what of that clipping adds, and how often bench warns of a set of which a
tenth or a fifth are such frames. What is done is kept in `--folder`, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from scipy.special import expit
from testbed import show

import bench
from bench import datasets
from bench.datasets.demo import SIZE, encode_jpeg, photograph_pair
from bench.experiment import read
from bench.files import write_atomically
from bench.pipeline.build import build_context
from bench.pipeline.prepare import prepare
from bench.records import Clipping, silent
from bench.results import clipping
from bench.runtimes import onnxruntime
from bench.runtimes.onnxruntime.clipping import load_clipping
from bench.variants import cache, ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.pipeline.prepared import Setup

Arrays: TypeAlias = "dict[str, NDArray[np.float64]]"
SEED = 78_000_000
NAME = "shift"
LIKE_CALIBRATION = "the demo's kind"
DRAWN = 2_000
DEMO = f"{{architecture: efficientnet_b5, weights: demo, preprocessing: {{preset: fsbi, size: {SIZE}}}}}"
VARIANTS = {"q8": "[{quantize: {dtype: int8, frames: 80}}]", "q8-p50": "[prune: 0.5, quantize: int8]"}


def main() -> None:
    """Build, measure what is not measured yet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where artifacts and measurements are kept")
    parser.add_argument("--frames", type=int, default=48, help="frames of each kind; 48 without it")
    parser.add_argument("--draws", type=int, default=4, help="sets of the demo's kind; 4 without it")
    parser.add_argument("--threads", type=int, default=1, help="1 without it")
    of_another = f"keys of another detector in YAML, with `size: {SIZE}`; it needs a folder of its own"
    parser.add_argument("--detector", default=DEMO, help=of_another)
    parser.add_argument("--only", choices=list(VARIANTS), action="append", help="a variant; all without it")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path = given.folder / "experiments.yaml"
    variants = {variant: VARIANTS[variant] for variant in given.only or VARIANTS}
    path.write_text(experiment(given.threads, given.detector, variants), encoding="utf-8")
    bench.run(NAME, path, timing=False)
    setup = prepare(read(path), path, NAME).first
    for variant in variants:
        measured = {kind: measure(given, setup, variant, kind) for kind in kinds(given.draws)}
        report(variant, measured)


def experiment(threads: int, detector: str, variants: dict[str, str]) -> str:
    """The experiment file."""
    chains = "".join(f"      {name}: {chain}\n" for name, chain in {"baseline": "[]", **variants}.items())
    return f"""detectors:
  demo: {detector}
datasets:
  demo: {{path: datasets/demo}}
experiments:
  {NAME}:
    detector: demo
    frames: demo
    device: cpu
    threads: {threads}
    gallery: {{top: 1, occlusion: false}}
    variants:
{chains}"""


# ------------------------------------------------------------------------------------------- the kinds
Picture: TypeAlias = Any
"""RGB uint8 [SIZE, SIZE, 3]."""


def _stripes(picture: Picture, rng: np.random.Generator) -> Picture:
    """Behind the head, stripes of two glaring colours."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    inside = (x / 0.36) ** 2 + (y / 0.46) ** 2 < 1
    wave = np.sin(rng.uniform(20, 80) * (x * np.cos(angle := rng.uniform(0, 6.3)) + y * np.sin(angle))) > 0
    colours = rng.choice([0, 255], (2, 3))
    return np.where(inside[..., None], picture, np.where(wave[..., None], *colours)).astype(np.uint8)


def _cartoon(picture: Picture, rng: np.random.Generator) -> Picture:
    """Flat colours with black outlines."""
    smooth = cv2.bilateralFilter(picture, 9, 60, 9)
    outlines = cv2.dilate(cv2.Canny(smooth, 40, 90), np.ones((2, 2), np.uint8)) > 0
    flat = (smooth // 64) * 84
    flat[outlines] = 0
    return flat


def _jpeg(picture: Picture, rng: np.random.Generator) -> Picture:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(encode_jpeg(picture, 10))))


def _small(picture: Picture, rng: np.random.Generator) -> Picture:
    tiny = cv2.resize(picture, (40, 40), interpolation=cv2.INTER_AREA)
    return cv2.resize(tiny, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


def _noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.clip(picture + rng.normal(0, 40, picture.shape), 0, 255).astype(np.uint8)


def _photograph(picture: Picture, rng: np.random.Generator) -> Picture:
    """A piece of a photograph that comes with scikit-image."""
    data = import_module("skimage.data")

    photograph = rng.choice(["astronaut", "chelsea", "coffee", "rocket"])
    whole = getattr(data, str(photograph))()[..., :3]
    side = int(rng.uniform(0.3, 1.0) * min(whole.shape[:2]))
    top, left = (int(rng.integers(0, length - side + 1)) for length in whole.shape[:2])
    return cv2.resize(whole[top : top + side, left : left + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)


SHIFTS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "dark (a quarter of the light)": lambda picture, rng: picture // 4,
    "overexposed (twice the light)": lambda picture, rng: np.minimum(picture.astype(int) * 2, 255).astype(np.uint8),
    "blurred (σ 2)": lambda picture, rng: cv2.GaussianBlur(picture, (0, 0), 2),
    "JPEG of quality 10": _jpeg,
    "from 40 px": _small,
    "noisy (σ 40)": _noisy,
    "stripes behind the head": _stripes,
    "cartoon": _cartoon,
    "negative": lambda picture, rng: 255 - picture,
    "black and white alone": lambda picture, rng: np.repeat((picture.mean(2, keepdims=True) > 127) * 255, 3, 2).astype(
        np.uint8
    ),
    "photographs": _photograph,
}


def kinds(draws: int) -> list[str]:
    """The calibration frames, several sets of the demo's kind, and one of each other kind."""
    return ["calibration", *(f"{LIKE_CALIBRATION}, set {number}" for number in range(draws)), *SHIFTS]


def frames_of(kind: str, count: int, setup: Setup) -> NDArray[np.uint8]:
    """Frames of a kind, [n, 3, SIZE, SIZE], every second a fake."""
    if kind == "calibration":
        listed = setup.frames["calibration"].frames
        return np.concatenate(list(datasets.read_batches(listed[:: max(1, len(listed) // count)], setup.spec, 8)))
    position = [*kinds(100)].index(kind) if kind not in SHIFTS else 1_000 + list(SHIFTS).index(kind)
    pictures = []
    for index in range(count):
        rng = np.random.default_rng([SEED + position, index])
        picture = photograph_pair(rng, SIZE)[index % 2]
        pictures.append(SHIFTS[kind](picture, rng) if kind in SHIFTS else picture)
    return np.stack(pictures).transpose(0, 3, 1, 2)


# ------------------------------------------------------------------------------------------- the measurements
def measure(given: argparse.Namespace, setup: Setup, variant: str, kind: str) -> Arrays:
    """Frame by frame: logit differences of the float detector, clipped and unclipped, and what every layer clips."""
    slug = "".join(letter if letter.isalnum() else "_" for letter in f"{variant} {kind} {given.frames}")
    file = given.folder / f"{slug}.npz"
    if file.exists():
        with np.load(file) as stored:
            return dict(stored)
    frames = frames_of(kind, given.frames, setup)
    rows: dict[str, list[Any]] = {"float": [], "limited": [], "free": [], "shares": []}
    session, reference = sessions(given, setup, variant)
    for frame in frames:
        limited = session.limited(frame)
        free, shares = session.free(frame)
        logits = reference.predict(frame[None]).logits
        for key, value in zip(rows, (float(logits[0, 1]) - float(logits[0, 0]), limited, free, shares), strict=True):
            rows[key].append(value)
    arrays = {key: np.array(values) for key, values in rows.items()}
    write_atomically(file, lambda target: np.savez(target, allow_pickle=False, **arrays))
    print(variant, kind, flush=True)
    return arrays


def sessions(given: argparse.Namespace, setup: Setup, variant: str) -> tuple[Any, Any]:
    """The quantised artifact that counts what it clips, and what it was quantised from."""
    if variant not in _sessions:
        *_, parent, artifact = ids.of_chain(setup.source, setup.chains[variant], build_context(setup, silent))
        of_float, quantised = (cache.read(setup.variants, each) for each in (parent, artifact))
        assert of_float is not None
        assert quantised is not None
        counting = load_clipping(quantised, given.threads)
        _sessions[variant] = counting, onnxruntime.load(of_float, "cpu", given.threads)
    return _sessions[variant]


_sessions: dict[str, tuple[Any, Any]] = {}


# ------------------------------------------------------------------------------------------- the table
def report(variant: str, measured: dict[str, Arrays]) -> None:
    """One row a kind: what is lost, what of that is clipping, and how often bench warns of sets of such frames."""
    calibration = measured["calibration"]
    pool = joined([arrays for kind, arrays in measured.items() if kind.startswith(LIKE_CALIBRATION)])
    rows = [row(kind, arrays, calibration, pool) for kind, arrays in measured.items()]
    rows.append(row("all sets of the demo's kind", pool, calibration, pool))
    header = [
        "Frames", "Noise of int8", "of rounding", "of clipping", "Deviation", "Clipped, %", "in the worst layer, %",
        "mean ΔP(fake)", "Warned", "Warned where a tenth is such, %", "a fifth, %",
    ]  # fmt: skip
    notes = (
        "Noise is a mean square of the logit difference's change, as a share of its variance over the frames: of int8 "
        "and of rounding against the float detector, of clipping between the artifact with the limits of its integers "
        f"and without. The last columns are of {DRAWN:,} sets of {clipping.FRAMES} frames drawn from those measured."
    )
    show(f"Calibration shift of {variant}", header, rows, notes)


def joined(parts: list[Arrays]) -> Arrays:
    """The frames of several sets."""
    return {key: np.concatenate([arrays[key] for arrays in parts]) for key in parts[0]}


def noise(arrays: Arrays, of: str = "free", by: str = "limited") -> float:
    """The mean square of what `by` adds to the logit differences `of`, as a share of their variance."""
    return float(np.square(arrays[by] - arrays[of]).mean() / arrays[of].var())


def is_warned(limited: NDArray[np.float64], free: NDArray[np.float64], calibration: Clipping) -> bool:
    """Whether bench warns of a set with these answers."""
    return bool(clipping.shift(Clipping(*clipping.noise(limited, free), len(free), {}), calibration).warned)


def row(kind: str, arrays: Arrays, of_calibration: Arrays, pool: Arrays) -> list[str]:
    """What was measured of a kind of frames."""
    shares = 100 * arrays["shares"].mean(0)
    moved = np.abs(expit(arrays["limited"]) - expit(arrays["float"])).mean()
    on_calibration = Clipping(
        *clipping.noise(of_calibration["limited"], of_calibration["free"]), len(of_calibration["free"]), {}
    )
    rng, often = np.random.default_rng(0), []
    for few in (clipping.FRAMES // 10 + 1, clipping.FRAMES // 5 + 1):
        warned = 0
        for _ in range(DRAWN):
            usual = rng.integers(0, len(pool["free"]), clipping.FRAMES - few)
            other = rng.integers(0, len(arrays["free"]), few)
            limited, free = (np.concatenate([pool[key][usual], arrays[key][other]]) for key in ("limited", "free"))
            warned += is_warned(limited, free, on_calibration)
        often.append(f"{100 * warned / DRAWN:.1f}")
    noises = noise(arrays, "float"), noise(arrays, "float", "free"), noise(arrays)
    values = [f"{value:.2g}" for value in (*noises, arrays["free"].std(), shares.mean(), shares.max(), moved)]
    return [kind, *values, "yes" if is_warned(arrays["limited"], arrays["free"], on_calibration) else "no", *often]


if __name__ == "__main__":
    main()
