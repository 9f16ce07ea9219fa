"""Scores and heatmaps, against timm's loader and loop followed by the package grad-cam."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from testbed import (
    MEAN,
    STD,
    alternate,
    built,
    evaluate,
    options,
    prepare_in,
    ratios,
    show,
    spread,
    working_folder,
    workplace,
)

from bench import runtimes
from bench.pipeline.prepared import Setup
from bench.records import Predictions, Session
from bench.results import store

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Usual:
    """timm's network and loader; `workers` and `batch` are how the loader was found fastest here."""

    network: Any
    folder: Path
    size: int
    device: str
    workers: int
    batch: int

    def batches(self) -> Iterator[Tensor]:
        """Normalised frames [n, 3, size, size] on the device, sorted by the files' names."""
        import torch
        from timm import data

        library: Any = data
        frames = library.create_dataset("", root=str(self.folder), class_map={"real": 0, "fake": 1})
        loader = library.create_loader(
            frames,
            input_size=(3, self.size, self.size),
            batch_size=self.batch,
            is_training=False,
            use_prefetcher=self.device == "cuda",
            interpolation="bilinear",
            mean=MEAN,
            std=STD,
            num_workers=self.workers,
            crop_pct=1.0,
            device=torch.device(self.device),
        )
        for batch, _ in loader:
            yield batch.contiguous(memory_format=torch.channels_last)

    def scores(self) -> NDArray[np.float32]:
        """P(fake) of every frame."""
        import torch

        with torch.inference_mode():
            p_fakes = [self.network(batch).softmax(1)[:, 1].cpu() for batch in self.batches()]
        scores: NDArray[np.float32] = torch.cat(p_fakes).numpy()
        return scores

    def heatmaps(self) -> None:
        """One Grad-CAM of class fake a frame, at the frame's size."""
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with GradCAM(model=self.network, target_layers=[self.network.bn2]) as cam:
            for batch in self.batches():
                cam(input_tensor=batch, targets=[ClassifierOutputTarget(1)] * len(batch))

    def scores_and_heatmaps(self) -> None:
        self.scores()
        self.heatmaps()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = options(
        __doc__, architecture="efficientnet_b5", sizes=(160, 380), frames=32, rounds=3, batches=(8, 32), workers=(0, 2)
    )
    given = parser.parse_args(arguments)
    rows: list[list[str]] = []
    settings = list(itertools.product(given.workers, given.batches))
    for size in given.sizes:
        setup = workplace(given, size, given.frames)
        with working_folder(given.folder) as folder:
            prepared = prepare_in(folder, setup)
            rows += _measured(prepared, _fastest(prepared, settings), given.rounds)
    show(
        f"2. Against the usual way, {given.architecture}",
        [
            "network input", "way", "scores + heatmaps, s", "times faster", "scores alone, s", "times faster alone",
            "scores differ by",
        ],
        rows,
        "The usual way is timm's `create_loader` and `create_model` for the scores (inference mode, channels_last, the "
        "fastest of the given batch sizes and workers), then `GradCAM` over the same loader, batched. *In one pass* "
        "leaves the first of the two out, since grad-cam computes scores too. bench writes scores and CAMs to disk, "
        "scores them, and then enlarges every CAM to the frame's size, as grad-cam does. Its scores alone are the same "
        f"pass without enlarging. {given.frames} JPEG frames of the network's size; median (quartiles) of "
        f"{given.rounds} rounds in alternation. Target: at least 3 times faster than the usual way.",
    )  # fmt: skip


def _measured(prepared: Setup, usual: Usual, rounds: int) -> Iterator[list[str]]:
    """A row for each way: seconds with heatmaps and without, beside the usual way."""
    artifact = built(prepared)["baseline"]
    names = dict.fromkeys([runtimes.choose(prepared.settings.runtime, "torch", prepared.device), "pytorch"])
    sessions = {name: runtimes.find(name).load(artifact, prepared.device, prepared.threads) for name in names}
    both: dict[str, Callable[[], object]] = {"usual": usual.scores_and_heatmaps, "one pass": usual.heatmaps}
    both |= {name: partial(_with_heatmaps, prepared, session) for name, session in sessions.items()}
    scores: dict[str, Callable[[], object]] = {"usual, scores": usual.scores}
    scores |= {f"{name}, scores": partial(evaluate, prepared, {name: session}) for name, session in sessions.items()}
    took = alternate(both | scores, rounds)
    labels = {"usual": f"usual: batches of {usual.batch}, {usual.workers} workers", "one pass": "usual, in one pass"}
    expected = usual.scores()
    for name in both:
        alone = took.get(f"{name}, scores")
        yield [
            f"{prepared.spec.size} px",
            labels.get(name, f"bench on {name}"),
            spread(took[name]),
            ratios(took["usual"], took[name]),
            spread(alone) if alone else "",
            ratios(took["usual, scores"], alone) if alone else "",
            f"{np.abs(_scores(prepared, sessions[name]) - expected).max():.0e}" if name in sessions else "",
        ]


def _fastest(prepared: Setup, settings: Sequence[tuple[int, int]]) -> Usual:
    """The usual way with whichever workers and batch size take the least time to the scores."""
    import timm
    import torch

    if prepared.device == "cpu":
        torch.set_num_threads(prepared.threads)
    network = timm.create_model(prepared.source.architecture, num_classes=2)
    network.load_state_dict(torch.load(prepared.source.weights, weights_only=True))
    network = network.eval().to(prepared.device).to(memory_format=torch.channels_last)
    folder = prepared.base / "faces" / "test"
    ways = [Usual(network, folder, prepared.spec.size, prepared.device, workers, batch) for workers, batch in settings]
    if len(ways) == 1:
        return ways[0]
    ways[0].scores()
    return min(ways, key=_seconds)


def _seconds(way: Usual) -> float:
    began = time.perf_counter()
    way.scores()
    return time.perf_counter() - began


def _with_heatmaps(prepared: Setup, session: Session) -> None:
    """A pass, and every CAM as a heatmap of the frame's size: its positive part, scaled to 1."""
    import cv2

    [folder] = evaluate(prepared, {"baseline": session})
    cams = _answers(prepared, folder).cam
    assert cams is not None
    size = prepared.spec.size
    for cam in cams:
        positive = np.maximum(cam, 0)
        cv2.resize(positive / (positive.max() + 1e-7), (size, size))


def _scores(prepared: Setup, session: Session) -> NDArray[np.float64]:
    """P(fake) of every frame, in the order of the frame set, which is also that of timm's loader."""
    [folder] = evaluate(prepared, {"baseline": session})
    answers = _answers(prepared, folder)
    return answers.test if answers.validation is None else np.concatenate([answers.test, answers.validation])


def _answers(prepared: Setup, folder: Path) -> Predictions:
    return store.read_predictions(folder, len(prepared.frames["test"].frames))


if __name__ == "__main__":
    main()
