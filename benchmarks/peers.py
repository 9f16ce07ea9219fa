"""How others compress: the usual tools as their documentation tells to call them, and two naive methods.

Each function makes one artifact in `folder` and returns what `bench.runtimes` can load. They get the frames that
`bench`'s own steps get: `calibration` for ranges, `train` for batch-norm statistics. No setting is tuned.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench import detectors
from bench.artifacts import footprint, safetensors
from bench.artifacts.onnx_export import to_onnx
from bench.errors import UserError
from bench.records import Built, Split
from bench.runtimes.openvino import library
from bench.variants.context import BuildContext, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector

_BATCH_SIZE = 16
_RECALIBRATION_FRAMES = 320
_SEARCHES = 8
NEURAL_COMPRESSOR = "NEURAL_COMPRESSOR_PYTHON"
"""The environment variable that names the Python of the environment which has Neural Compressor."""


@dataclass(frozen=True)
class Case:
    """A detector that is to be compressed, and the frames and the machine for it."""

    name: str
    source: Source
    context: BuildContext

    @cached_property
    def loaded(self) -> Detector:
        """The detector as it was trained; whoever changes one takes a `detector()`."""
        return detectors.load(
            self.source.architecture, self.source.weights, self.source.preprocessing, self.source.conventions
        )

    def detector(self) -> Detector:
        return copy.deepcopy(self.loaded)

    def batches(self, split: Split, most: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB [n, 3, size, size]; at most so many frames, evenly spread over the split."""
        frames = self.context.frames[split]
        chosen = [frames.frames[index] for index in frames.sample_evenly(most)]
        return self.context.read(chosen, self.source.preprocessing.input_spec, _BATCH_SIZE)


@dataclass(frozen=True)
class Peer:
    """A way of others: what makes it, which runtime it is for, and the distributions that it needs besides.

    `environment` is the variable that names the Python which has these, where it is not this one.
    """

    make: Callable[[Case, Path], Built]
    runtime: str = "onnxruntime"
    libraries: tuple[str, ...] = ()
    environment: str = ""

    def environment_versions(self) -> dict[str, str | None]:
        """In the other environment, the versions of its libraries; None for what is missing there.

        Raises `UserError` where the variable is not set, or names no Python.
        """
        if python := os.environ.get(self.environment, ""):
            return _versions_there(python, self.libraries)
        raise UserError(
            f"{self.libraries[0]} not installed: it needs an environment of its own, of which --neural-compressor or "
            f"{self.environment} names the Python; benchmarks/neural_compressor.py says how to make one"
        )


@functools.cache
def _versions_there(python: str, libraries: tuple[str, ...]) -> dict[str, str | None]:
    """Versions of distributions for another Python; None for what it lacks."""
    code = (
        "import json, sys\nfrom importlib import metadata\nfound = {}\nfor name in sys.argv[1:]:\n"
        " try: found[name] = metadata.version(name)\n except metadata.PackageNotFoundError: found[name] = None\n"
        "print(json.dumps(found))"
    )
    try:
        done = subprocess.run([python, "-c", code, *libraries], check=True, capture_output=True, env=_environment())
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{python} does not start as a Python: {error}") from error
    answer: dict[str, str | None] = json.loads(done.stdout)
    return answer


def _environment() -> dict[str, str]:
    """The variables of this process without those that would lead another Python to this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def made(peer: Peer, case: Case, folder: Path) -> Built:
    """The artifact, with the seconds from the detector in memory to the file."""
    folder.mkdir(parents=True, exist_ok=True)
    # Reading the weights is nobody's work: bench's own steps are timed without it too.
    _ = case.loaded
    began = time.monotonic()
    built = peer.make(case, folder)
    return replace(built, seconds=time.monotonic() - began)


# ------------------------------------------------------------------------------------ quantisation
def onnxruntime_static(case: Case, folder: Path, **further: Any) -> Built:
    """`quant_pre_process`, then `quantize_static` with its defaults: QDQ, MinMax, per tensor, signed 8 bits."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = case.batches("calibration")

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"frames": batch}

    exported, prepared, quantised = _exported(case, folder), folder / "prepared.onnx", folder / "model.onnx"
    quant_pre_process(str(exported), str(prepared))
    quantize_static(str(prepared), str(quantised), Reader(), **further)
    # Told to be plain "int8" it would be rewritten as bench's own graphs are before they run.
    return _onnx(case, quantised, quantised.stat().st_size, "int8 QDQ")


def onnxruntime_static_u8s8(case: Case, folder: Path) -> Built:
    """The same with a scale for every output channel of the weights, and unsigned activations, for x86."""
    from onnxruntime.quantization import QuantType

    return onnxruntime_static(case, folder, per_channel=True, activation_type=QuantType.QUInt8)


def neural_compressor(case: Case, folder: Path, *further: str) -> Built:
    """Neural Compressor for ONNX with its defaults: QOperator, MinMax, per tensor, U8S8. It runs in its own Python."""
    exported, frames, quantised = _exported(case, folder), folder / "frames.npy", folder / "model.onnx"
    np.save(frames, np.concatenate(list(case.batches("calibration"))))
    script = Path(__file__).with_name("neural_compressor.py")
    command = [os.environ[NEURAL_COMPRESSOR], str(script), str(exported), str(frames), str(quantised), *further]
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", env=_environment())
    if done.returncode:
        raise RuntimeError("Neural Compressor: " + (done.stderr.strip().splitlines() or ["no message"])[-1])
    return _onnx(case, quantised, quantised.stat().st_size, "int8 QOperator")


def neural_compressor_per_channel(case: Case, folder: Path) -> Built:
    """The same with a scale for every output channel of the weights."""
    return neural_compressor(case, folder, "--per-channel")


def nncf_openvino(case: Case, folder: Path) -> Built:
    """NNCF's post-training quantisation of the OpenVINO model, preset MIXED, which it advises for Swish (SiLU)."""
    openvino = library()
    # Without this it would report its use over the network.
    os.environ.setdefault("NNCF_CI", "1")
    import nncf

    model = openvino.Core().read_model(_exported(case, folder))
    frames = nncf.Dataset([batch[i : i + 1] for batch in case.batches("calibration") for i in range(len(batch))])
    quantised = nncf.quantize(
        model, frames, preset=nncf.QuantizationPreset.MIXED, subset_size=len(case.context.frames["calibration"].frames)
    )
    file = folder / "model.xml"
    openvino.save_model(quantised, file)
    return _onnx(case, file, file.stat().st_size + file.with_suffix(".bin").stat().st_size, "int8 in OpenVINO's format")


def per_tensor_weights(case: Case, folder: Path) -> Built:
    """Every tensor of the checkpoint, batch norms included, rounded to int8 with one scale; computed in float."""
    from safetensors.torch import save_file

    detector = case.detector()
    shipped: dict[str, Tensor] = {}
    for name, tensor in detector.state_dict().items():
        if tensor.is_floating_point():
            scale = (tensor.abs().max() / 127).clamp_min(torch.finfo(torch.float32).tiny)
            whole = (tensor / scale).round()
            shipped |= {name: whole.to(torch.int8), f"{name}.scale": scale}
            tensor.copy_(whole * scale)
    save_file(shipped, folder / "shipped.safetensors")
    return replace(_torch(case, detector, folder), size_bytes=(folder / "shipped.safetensors").stat().st_size)


# ----------------------------------------------------------------------------------------- pruning
def torch_pruning_one_shot(case: Case, folder: Path) -> Built:
    """`BasePruner` with group magnitudes and one ratio for all layers, the smallest that leaves half the parameters."""
    return _torch(case, _pruned(case.detector()), folder)


def torch_pruning_recalibrated(case: Case, folder: Path) -> Built:
    """The same, with batch-norm statistics measured again (`torch.optim.swa_utils.update_bn`)."""
    from torch.optim.swa_utils import update_bn

    detector = _pruned(case.detector())
    update_bn((torch.from_numpy(batch) for batch in case.batches("train", _RECALIBRATION_FRAMES)), detector)
    return _torch(case, detector, folder)


def _pruned(detector: Detector) -> Detector:
    """The ratio is one of channels, so the half of the parameters is searched for by bisection."""
    full, low, high = _parameters(detector), 0.0, 1.0
    best = None
    for _ in range(_SEARCHES):
        ratio = (low + high) / 2
        narrowed = _at_ratio(detector, ratio)
        if _parameters(narrowed) <= full / 2:
            best, high = narrowed, ratio
        else:
            low = ratio
    if best is None:
        raise RuntimeError(f"torch-pruning leaves more than half of {detector.architecture} at any ratio")
    return best


def _at_ratio(detector: Detector, ratio: float) -> Detector:
    """A copy whose layers lose this share of their channels, by torch-pruning."""
    import torch_pruning

    pruned = copy.deepcopy(detector)
    size = pruned.preprocessing.size
    network = pruned.logit_network()
    pruner = torch_pruning.pruner.BasePruner(
        network, torch.zeros(1, 3, size, size), importance=torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=ratio, ignored_layers=pruned.logit_layers(),
    )  # fmt: skip
    pruner.step()
    return pruned


def _parameters(detector: Detector) -> int:
    return sum(parameter.numel() for parameter in detector.parameters())


# --------------------------------------------------------------------------------------- artifacts
def _exported(case: Case, folder: Path) -> Path:
    file = folder / "fp32.onnx"
    file.write_bytes(to_onnx(case.detector()).SerializeToString(deterministic=True))
    return file


def _onnx(case: Case, file: Path, size_bytes: int, stored: str) -> Built:
    detector = case.detector()
    parameters, macs = footprint.footprint_of(detector)
    return Built(file.parent.name, file, "onnx", stored, size_bytes, parameters, macs, detector.margin_bias, 0.0)


def _torch(case: Case, detector: Detector, folder: Path) -> Built:
    parameters, macs = footprint.footprint_of(detector)
    file = safetensors.save(detector, folder)
    size = file.stat().st_size
    return Built(folder.name, file, "torch", "fp32", size, parameters, macs, detector.margin_bias, 0.0)
