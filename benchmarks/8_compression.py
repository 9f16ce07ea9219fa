"""What compression costs: bench's own variants beside the usual tools and two naive methods, in one table.

Detectors are the demo's, its hard twin (the same function with uneven channels, `twin.py`), two that grew from
ImageNet weights (`real_weights.py`), and any others given by `--weights`. Every method gets the demo set's calibration
and train frames, for real weights 320 frames that are both; all are judged on the same frames, drawn afresh from a seed
that nothing else uses. What is done is kept in `--folder`: a run that was stopped goes on, and a peer that is not
installed is a row that says so until it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import real_weights
import yaml
from compression_table import Measured, print_short, print_table, write
from peers import (
    NEURAL_COMPRESSOR,
    Case,
    Peer,
    made,
    neural_compressor,
    neural_compressor_per_channel,
    nncf_openvino,
    onnxruntime_static,
    onnxruntime_static_u8s8,
    per_tensor_weights,
    torch_pruning_one_shot,
    torch_pruning_recalibrated,
)
from real_weights import PUBLISHED
from scipy.special import expit
from testbed import alternate, draw_test_frames
from twin import twin

from bench import datasets, detectors, runtimes
from bench.datasets import FrameSetSettings, demo
from bench.detectors.families import efficientnet
from bench.detectors.presets import PRESETS
from bench.errors import UserError
from bench.provenance import cpu_cores, cpu_name, digest, file_digest, versions, write_json
from bench.records import Auc, Built, Preprocessing, silent
from bench.results.score.auc import estimate
from bench.results.score.differences import difference
from bench.results.score.placements import Placements, placements
from bench.variants import build, cache, ids, steps
from bench.variants.chain import frame_problems, order_problems, parse
from bench.variants.context import BuildContext, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.records import Session

OURS = {
    "q16": "[cast: fp16]",
    "q16, bf16": "[cast: bf16]",
    "q8": "[quantize: int8]",
    "q8, weights only": "[quantize: {weights: int8}]",
    "q4, weights only": "[quantize: {weights: int4}]",
    "q32-p50, no training": "[prune: 0.5]",
    "q32-p50": "[prune: 0.5, recover]",
    "q16-p50": "[prune: 0.5, recover, cast: fp16]",
    "q8-p50": "[prune: 0.5, recover, quantize: int8]",
    "q8, recover": "[quantize: int8, recover]",
    "q4, weights only, recover": "[quantize: {weights: int4}, recover]",
    "q8-p50, recover": "[prune: 0.5, recover, quantize: int8, recover]",
}
NEURAL_COMPRESSOR_LIBRARIES = ("onnx-neural-compressor", "onnxruntime", "onnx", "numpy")
NAIVE_CHAINS = {"50 % of all weights zero, global L1": "[prune: {amount: 0.5, structure: unstructured}]"}
NAIVE = {"int8 weights and batch norms, per tensor": Peer(per_tensor_weights)}
PEERS = {
    "onnxruntime, static QDQ, defaults": Peer(onnxruntime_static),
    "onnxruntime, static QDQ, per channel, U8S8": Peer(onnxruntime_static_u8s8),
    "Neural Compressor, static, defaults": Peer(
        neural_compressor, libraries=NEURAL_COMPRESSOR_LIBRARIES, environment=NEURAL_COMPRESSOR
    ),
    "Neural Compressor, static, per channel": Peer(
        neural_compressor_per_channel, libraries=NEURAL_COMPRESSOR_LIBRARIES, environment=NEURAL_COMPRESSOR
    ),
    "NNCF + OpenVINO, PTQ MIXED": Peer(nncf_openvino, "openvino", ("nncf",)),
    "torch-pruning, defaults": Peer(torch_pruning_one_shot, libraries=("torch-pruning",)),
    "torch-pruning, then batch-norm recalibration": Peer(torch_pruning_recalibrated, libraries=("torch-pruning",)),
}
BASELINE = "fp32"
TEST_SEED = 74_000_000
PREPROCESSING = replace(PRESETS["fsbi"], size=demo.SIZE)
_VERSION = 4  # raised whenever the peers would make other artifacts, or rows would say something else
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Row:
    """One way to compress. Either a chain of steps, as in `experiments.yaml`, or a peer's."""

    name: str
    whose: str
    runtime: str
    chain: str = ""
    peer: Peer | None = None


@dataclass(frozen=True)
class Judge:
    """The test frames, and what the baseline says of them."""

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    logit_diffs: NDArray[np.float64]
    placed: Placements
    baseline: Built


def rows(own_runtimes: Sequence[str]) -> list[Row]:
    """All rows, the baseline first; chains once in each of the runtimes."""
    chains = {"": {BASELINE: "[]"}, "bench": OURS, "naive": NAIVE_CHAINS}
    named = [(whose, name, chain) for whose, group in chains.items() for name, chain in group.items()]
    ours = [Row(name, whose, runtime, chain=chain) for runtime in own_runtimes for whose, name, chain in named]
    others = {"naive": NAIVE, "peer": PEERS}
    return [
        *ours,
        *(Row(name, who, peer.runtime, peer=peer) for who, group in others.items() for name, peer in group.items()),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table. Rows of earlier runs whose inputs are the same are kept."""
    given = _given(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    chosen = [row for row in rows(given.runtimes) if not given.only or row.name in given.only or row.name == BASELINE]
    path = given.folder / f"test-{TEST_SEED}-{given.test_frames}.npy"
    frames, labels = draw_test_frames(path, TEST_SEED, given.test_frames, demo.SIZE)
    measured = []
    for case in cases(given):
        judge = _judge(case, frames, labels)
        for number, row in enumerate(chosen, start=1):
            print(f"{case.name}, {number} of {len(chosen)}: {row.name} ({row.runtime})", file=sys.stderr, flush=True)
            measured.append(_stored_or_measured(row, case, judge, given))
    write(measured, given.folder)
    print_table(measured, given.test_frames, given.rounds, given.threads)
    print_short(measured)


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; which names there are follows from the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where frames, artifacts and results are kept")
    parser.add_argument("--test-frames", type=int, default=4000, help="4000 without it; half of them are fakes")
    parser.add_argument("--rounds", type=int, default=60, help="calls at batch 1 that are timed; 60 without it")
    parser.add_argument("--time-again", action="store_true", help="time all rows anew, and keep what else is there")
    names = [row.name for row in rows(["onnxruntime"])]
    choices = "; ".join(names).replace("%", "%%")
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="NAME", help=f"of: {choices}")
    parser.add_argument("--weights", type=Path, action="append", default=[], help="a further detector; can be repeated")
    parser.add_argument("--architecture", action="append", default=[], help="that of each --weights, in their order")
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=[],
        help="demo, the stems of --weights, real-b0, real-lite0, or these with -twin",
    )
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime"], choices=runtimes.names())
    parser.add_argument("--threads", type=int, default=cpu_cores())
    parser.add_argument("--neural-compressor", metavar="PYTHON", help="that of an environment which has it")
    given = parser.parse_args(arguments)
    if given.neural_compressor:
        os.environ[NEURAL_COMPRESSOR] = given.neural_compressor
    if len(given.weights) != len(given.architecture):
        parser.error(f"{len(given.weights)} --weights and {len(given.architecture)} --architecture: give one for each")
    detector_names = ["demo", *(path.stem for path in given.weights), *PUBLISHED]
    if unknown := [name for name in given.detectors if name.removesuffix("-twin") not in detector_names]:
        parser.error(f"--detectors {unknown[0]} is none of {', '.join(detector_names)}, with or without -twin")
    return given


# -------------------------------------------------------------------------------------- the inputs
def cases(given: argparse.Namespace) -> list[Case]:
    """The detectors that were asked for, each with the frames that its owner has for compression."""
    weights = {"demo": ("efficientnet_b5", detectors.DEMO_WEIGHTS)}
    weights |= {
        path.stem: (architecture, path) for architecture, path in zip(given.architecture, given.weights, strict=True)
    }
    chosen = []
    for name in given.detectors or ["demo", "demo-twin", *list(weights)[1:], *PUBLISHED]:
        stem = name.removesuffix("-twin")
        if stem in PUBLISHED:
            architecture, file = PUBLISHED[stem].architecture, real_weights.made(stem, given.folder, given.threads)
            preprocessing, settings = real_weights.PREPROCESSING, real_weights.FRAMES
        else:
            demo.draw(given.folder / "demo")
            (architecture, file), preprocessing, settings = weights[stem], PREPROCESSING, FrameSetSettings(path="demo")
        if name.endswith("-twin"):
            file = _twin_file(architecture, file, preprocessing, given.folder / f"{name}.safetensors")
        frames = datasets.load(stem, settings, given.folder, given.folder / "cache")
        source = Source(architecture, file, file_digest(file), preprocessing)
        context = BuildContext(
            given.folder / "variants", frames, partial(datasets.read_batches, threads=given.threads),
            versions(("opencv-python-headless", "numpy")), "cpu", given.threads, 0, silent,
        )  # fmt: skip
        chosen.append(Case(name, source, context))
    return chosen


def _twin_file(architecture: str, weights: Path, preprocessing: Preprocessing, path: Path) -> Path:
    """The hard twin as a checkpoint, as `detectors.load` reads them."""
    from safetensors.torch import save_file

    detector = detectors.load(architecture, weights, preprocessing)
    state = twin(detector).state_dict()
    if detector.flavour == "static":
        state = efficientnet.to_fsbi(state, architecture)
    elif architecture in efficientnet.ARCHITECTURES:
        state = {
            name.removeprefix("backbone.").replace("head.", "classifier."): tensor for name, tensor in state.items()
        }
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


# ---------------------------------------------------------------------------------------- the work
def _judge(case: Case, frames: NDArray[np.uint8], labels: NDArray[np.int64]) -> Judge:
    baseline = build.build(BASELINE, case.source, [], case.context)
    logit_diffs = _logit_diffs(_loaded(baseline, "onnxruntime", case), frames)
    return Judge(frames, labels, logit_diffs, placements(labels, logit_diffs), baseline)


def _stored_or_measured(row: Row, case: Case, judge: Judge, given: argparse.Namespace) -> Measured:
    """A row of an earlier run where nothing that it hangs on has changed. Scores and speed are kept apart."""
    inputs = {"version": _VERSION, "row": [row.name, row.runtime, row.chain], "weights": case.source.digest}
    frames = {split: frames.content for split, frames in case.context.frames.items()}
    of_peer = row.peer.libraries if row.peer and not row.peer.environment else ()
    used = (*runtimes.find(row.runtime).LIBRARIES, *of_peer)
    inputs |= {"test": len(judge.labels), "frames": frames, "libraries": versions(used)}
    inputs |= {"versions": dict(runtimes.find(row.runtime).VERSIONS), "cpu": [cpu_name(), cpu_cores()]}
    empty = Measured(case.name, row.name, row.whose, row.runtime, digest(inputs), len(judge.labels))
    try:
        if row.peer and row.peer.environment:
            empty = replace(empty, key=digest([inputs, row.peer.environment_versions()]))
        chain = [parse(entry) for entry in yaml.safe_load(row.chain)] if row.peer is None else []
        if chain:
            empty = replace(empty, key=digest([inputs, ids.of_chain(case.source, chain, case.context)[-1]]))
        scores_file = given.folder / "rows" / f"{case.name}-{empty.key}.json"
        times_file = scores_file.with_suffix(f".{given.threads}-threads-{given.rounds}-rounds.json")
        scored, timed = _read(scores_file), None if given.time_again else _read(times_file)
        if scored is None or timed is None:
            scores_file.parent.mkdir(exist_ok=True)
            _refuse_missing(row)
            _refuse_problems(chain, case)
            built = _built(row, chain, case, given.folder)
            session = _loaded(built, row.runtime, case)
        if scored is None:
            scored = asdict(_scored(session, built, case, judge, empty))
            write_json(scores_file, scored)
        if timed is None:
            timed = _timed(session, row, case, judge, given.rounds)
            write_json(times_file, timed)
        return Measured(**{**scored, **timed})
    except Exception as error:  # whatever a peer fails of is what its row says
        if not isinstance(error, UserError):
            traceback.print_exc()
        return replace(empty, reason=f"{type(error).__name__}: {error}".removeprefix("UserError: "))


def _read(file: Path) -> dict[str, Any] | None:
    """What an earlier run has stored; None where there is nothing."""
    stored: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return stored


def _refuse_problems(chain: Sequence[steps.Use], case: Case) -> None:
    """Raise `UserError` where a chain cannot work on these frames."""
    if problems := [*order_problems(chain), *frame_problems(chain, case.context.frames)]:
        raise UserError(*(problem for _, problem in problems))


def _refuse_missing(row: Row) -> None:
    """Raise `UserError` where a row's runtime, or a library of its peer's, is not installed."""
    elsewhere = row.peer.environment_versions() if row.peer and row.peer.environment else {}
    if missing := [name for name, version in elsewhere.items() if version is None]:
        raise UserError(f"{' and '.join(missing)} not installed in the environment of its own")
    of_peer = row.peer.libraries if row.peer and not elsewhere else ()
    packages = (runtimes.find(row.runtime).PACKAGE, *of_peer)
    if missing := [name for name in packages if find_spec(name.replace("-", "_")) is None]:
        raise UserError(f'{" and ".join(missing)} not installed: pip install -e ".[peers]"')


def _built(row: Row, chain: Sequence[steps.Use], case: Case, folder: Path) -> Built:
    """The artifact, its `seconds` those of the whole chain."""
    if row.peer:
        return made(row.peer, case, folder / "peers" / digest([case.source.digest, row.name]))
    built = build.build(row.name, case.source, chain, case.context)
    links = ids.of_chain(case.source, chain, case.context)[1:]
    return replace(built, seconds=sum(cache.read(case.context.folder, link).seconds for link in links))


def _loaded(built: Built, runtime: str, case: Case) -> Session:
    """A session with the kernels that a run would choose: without a choice, int8 takes those exact everywhere."""
    module: Any = runtimes.find(runtime)
    if built.arranged and hasattr(module, "settle"):
        module.settle(built, "cpu", case.context.threads)
    session: Session = module.load(built, "cpu", case.context.threads)
    return session


def _logit_diffs(session: Session, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`logit_fake - logit_real` [n]."""
    batches = (frames[start : start + _BATCH_SIZE] for start in range(0, len(frames), _BATCH_SIZE))
    logits = np.concatenate([session.predict(np.ascontiguousarray(batch))[0] for batch in batches]).astype(np.float64)
    logit_diffs: NDArray[np.float64] = logits[:, 1] - logits[:, 0]
    return logit_diffs


def _scored(session: Session, built: Built, case: Case, judge: Judge, empty: Measured) -> Measured:
    """Scores and size of one artifact beside the baseline's."""
    logit_diffs = _logit_diffs(session, judge.frames)
    scored = replace(
        empty,
        size_mib=built.size_bytes / 2**20,
        parameters_share=_share(built.parameters, judge.baseline.parameters),
        macs_share=_share(built.macs, judge.baseline.macs),
        int8=session.executed.int8,
        build_seconds=built.seconds,
    )
    if bad := int((~np.isfinite(logit_diffs)).sum()):
        return replace(scored, reason=f"scores of {bad} of {len(logit_diffs)} frames are not finite numbers")
    placed = placements(judge.labels, logit_diffs)
    auc, (delta, _) = estimate(placed, None), difference(placed, judge.placed, None)
    dp = np.abs(expit(logit_diffs) - expit(judge.logit_diffs)).mean()
    return replace(
        scored, auc=auc.value, auc_interval=_ends(auc), auc_delta=delta.value, auc_delta_interval=_ends(delta),
        mean_dp=float(dp),
    )  # fmt: skip


def _timed(session: Session, row: Row, case: Case, judge: Judge, rounds: int) -> dict[str, Any]:
    """Milliseconds of single calls with one frame, and of fp32 in the same runtime, in alternation."""
    frame = np.ascontiguousarray(judge.frames[:1])
    baseline = _loaded(judge.baseline, row.runtime, case)
    seconds = alternate({"own": partial(session.predict, frame), BASELINE: partial(baseline.predict, frame)}, rounds)
    own_ms, baseline_ms = ([1000 * s for s in seconds[name]] for name in ("own", BASELINE))
    return {"latency_ms": own_ms, "baseline_latency_ms": baseline_ms}


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _ends(auc: Auc) -> tuple[float, float]:
    return auc.interval.low, auc.interval.high


if __name__ == "__main__":
    main()
