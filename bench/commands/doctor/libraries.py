"""Python and the libraries: there, in the wanted versions, and really working."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import runtimes
from bench.commands.doctor.findings import AnswerError, Finding, ask
from bench.provenance import cuda_devices, source_tree, version

AGAIN = "install bench again: python -m pip install --force-reinstall bench, best into a new virtual environment"
ON_CPU = "or set `device: cpu`"
ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu")


def python(folder: Path) -> Sequence[Finding]:
    from packaging.specifiers import SpecifierSet

    found, wanted = platform.python_version(), _declared()[0]
    told = f"{found} ({wanted} wanted) at {sys.executable}"
    if SpecifierSet(wanted).contains(found, prereleases=True):
        return [Finding("ok", "python", told)]
    return [Finding("problem", "python", told, f"use a Python {wanted}")]


def packages(folder: Path) -> Sequence[Finding]:
    """Every requirement of bench against what is installed."""
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in _declared()[1]]
    due = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [found for one in due if (found := _package(one))]
    return wrong or [Finding("ok", "packages", f"all {len(due)} required packages, in versions that fit")]


def _declared() -> tuple[str, Sequence[str]]:
    """The Python that bench requires, and the packages: of the installed bench, or of the source tree it runs from."""
    try:
        return metadata.metadata("bench")["Requires-Python"], metadata.requires("bench") or ()
    except metadata.PackageNotFoundError:
        project = source_tree()
        return project["requires-python"], project["dependencies"]


def _package(wanted: Any) -> Finding | None:
    names = ONNXRUNTIMES if wanted.name in ONNXRUNTIMES else (wanted.name,)
    found = next((one for name in names if (one := version(name)) != "absent"), None)
    if found and wanted.specifier.contains(found, prereleases=True):
        return None
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    told = f"{found} is installed, {wanted.specifier} is wanted" if found else "not installed"
    return Finding("problem", wanted.name, told, f'python -m pip install "{wanted.name}{extras}{wanted.specifier}"')


def torch(folder: Path) -> Sequence[Finding]:
    try:
        said = ask("torch")
    except AnswerError as error:
        return [Finding("problem", "torch", f"does not work: {error}", AGAIN)]
    build = f"built for CUDA {said['cuda']}" if said["cuda"] else "built without CUDA"
    devices = ", ".join(said["devices"]) or "no CUDA device"
    told = f"{said['version']}, {build}, sees {devices}; uses {said['capability']} on the CPU"
    if not said["right"]:
        return [Finding("problem", "torch", f"{told}; computes wrongly", AGAIN)]
    if cuda_devices() and not said["devices"]:
        mend = "update the NVIDIA driver" if said["cuda"] else "install the CUDA build of torch"
        told += f"; but the driver shows {', '.join(cuda_devices())}"
        return [Finding("problem", "torch", told, f"{mend}, {ON_CPU}")]
    return [Finding("ok", "torch", told)]


def timm(folder: Path) -> Sequence[Finding]:
    try:
        said = ask("timm")
    except AnswerError as error:
        mend = "torchvision and torch must be builds for each other: install both with one pip command"
        return [Finding("problem", "timm", f"does not work: {error}", mend)]
    told = f"{said['timm']} on torchvision {said['torchvision']}"
    return [Finding("ok" if said["right"] else "problem", "timm", told, "" if said["right"] else AGAIN)]


def onnxruntime(folder: Path) -> Sequence[Finding]:
    """The build, and how many distributions of it there are: two overwrite each other's files."""
    names = {one.metadata["Name"] or "" for one in metadata.distributions()}
    found = sorted(name for name in names if name.lower().startswith("onnxruntime") and "extensions" not in name)
    try:
        told = f"{ask('onnxruntime')['version']}, from {' and '.join(found) or 'no distribution'}"
    except AnswerError as error:
        return [Finding("problem", "onnxruntime", f"does not work: {error}", AGAIN)]
    if len(found) > 1:
        wanted = "onnxruntime-gpu[cuda,cudnn]" if "onnxruntime-gpu" in found else "onnxruntime"
        mend = f'python -m pip uninstall -y {" ".join(found)}, then python -m pip install "{wanted}"'
        return [Finding("note", "onnxruntime", f"{told}: they overwrite each other's files", mend)]
    return [Finding("ok", "onnxruntime", told)]


def providers(folder: Path) -> Sequence[Finding]:
    """Each provider that onnxruntime says it has, in a session of its own."""
    try:
        available = ask("onnxruntime")["providers"]
    except AnswerError:
        return []  # said already
    return [_provider(name) for name in available]


def _provider(name: str) -> Finding:
    what = name.removesuffix("ExecutionProvider").replace("Tensorrt", "TensorRT")
    try:
        said = ask("provider", name)
        trouble = "" if said["loads"] and said["right"] else "computes wrongly" if said["loads"] else "does not load"
    except AnswerError as error:
        trouble = f"does not work: {error}"
    if not trouble:
        return Finding("ok", what, "onnxruntime runs a model on it")
    if what == "CPU":
        return Finding("problem", what, trouble, AGAIN)
    if not cuda_devices():
        return Finding("ok", what, "not used: there is no CUDA device here")
    if what == "CUDA":
        mend = f'python -m pip install "onnxruntime-gpu[cuda,cudnn]" in the version that fits the driver, {ON_CPU}'
        return Finding("problem", what, trouble, mend)
    mend = "only `runtime: tensorrt` needs it: install NVIDIA's TensorRT libraries" if what == "TensorRT" else ""
    return Finding("note" if mend else "ok", what, trouble, mend)


def int8(folder: Path) -> Sequence[Finding]:
    """What integers gain on this processor: a small network in both, timed in turns."""
    try:
        answer = ask("int8")
    except AnswerError as error:
        return [Finding("note", "int8", f"could not be timed: {error}")]
    if not answer["right"]:
        return [Finding("problem", "int8", "a small network computes otherwise in integers than in floats", AGAIN)]
    speed = f"{answer['ratio']:.2g} times as fast as fp32 in onnxruntime ({answer['low']:.2g} to {answer['high']:.2g})"
    text = f"{speed}: a small network on one thread, timed in turns for {answer['seconds']:.1f} s"
    if answer["low"] > 1:
        return [Finding("ok", "int8", text)]
    return [
        Finding(
            "note", "int8", text, "here int8 makes files smaller, and is not proven faster; `bench run` times yours"
        )
    ]


def openvino(folder: Path) -> Sequence[Finding]:
    """The optional runtime: nothing else needs it."""
    if version("openvino") == "absent":
        return [Finding("ok", "openvino", "not installed; only `runtime: openvino` needs it")]
    mend = 'only `runtime: openvino` needs it: python -m pip install --force-reinstall "bench[openvino]"'
    try:
        said = ask("openvino")
    except AnswerError as error:
        return [Finding("note", "openvino", f"does not work: {error}", mend)]
    told = f"{said['version']}, knows {', '.join(said['types'])} on this CPU"
    if not said["right"]:
        return [Finding("note", "openvino", f"{told}; computes wrongly", mend)]
    return [Finding("ok", "openvino", told)]


def inductor(folder: Path) -> Sequence[Finding]:
    """Whether PyTorch's compiler compiles: nothing but its own runtime needs that."""
    device: runtimes.Device = "cuda" if cuda_devices() else "cpu"
    if reason := runtimes.trouble("inductor", device):
        return [Finding("note", "inductor", reason, "only `runtime: inductor` needs it")]
    try:
        answer = ask("inductor", device)
    except AnswerError as error:
        return [Finding("note", "inductor", f"does not work: {error}", "only `runtime: inductor` needs it")]
    text = f"{answer['compiler']} compiled a small network for {device} in {answer['seconds']:.0f} s"
    if not answer["right"]:
        return [Finding("note", "inductor", f"{text}; it computes wrongly", "only `runtime: inductor` needs it")]
    return [Finding("ok", "inductor", text)]
