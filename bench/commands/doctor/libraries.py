"""Python and the libraries: installed, in the required versions, and working."""

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

    number, required = platform.python_version(), _declared()[0]
    text = f"{number} ({required} wanted) at {sys.executable}"
    if SpecifierSet(required).contains(number, prereleases=True):
        return [Finding("ok", "python", text)]
    return [Finding("problem", "python", text, f"use a Python {required}")]


def packages(folder: Path) -> Sequence[Finding]:
    """Every requirement of bench against what is installed."""
    from packaging.requirements import Requirement

    declared = [Requirement(text) for text in _declared()[1]]
    due = [
        requirement
        for requirement in declared
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]
    problems = [finding for requirement in due if (finding := _package(requirement))]
    return problems or [Finding("ok", "packages", f"all {len(due)} required packages, in versions that fit")]


def _declared() -> tuple[str, Sequence[str]]:
    """The Python that bench requires, and the packages: of the installed bench, or of the source tree it runs from."""
    try:
        return metadata.metadata("bench")["Requires-Python"], metadata.requires("bench") or ()
    except metadata.PackageNotFoundError:
        project = source_tree()
        return project["requires-python"], project["dependencies"]


def _package(requirement: Any) -> Finding | None:
    """A problem where the required package is missing or has another version."""
    names = ONNXRUNTIMES if requirement.name in ONNXRUNTIMES else (requirement.name,)
    installed = next((number for name in names if (number := version(name)) != "absent"), None)
    if installed and requirement.specifier.contains(installed, prereleases=True):
        return None
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    text = f"{installed} is installed, {requirement.specifier} is wanted" if installed else "not installed"
    mend = f'python -m pip install "{requirement.name}{extras}{requirement.specifier}"'
    return Finding("problem", requirement.name, text, mend)


def torch(folder: Path) -> Sequence[Finding]:
    """PyTorch's build, the devices that it sees, and whether it computes rightly."""
    try:
        answer = ask("torch")
    except AnswerError as error:
        return [Finding("problem", "torch", f"does not work: {error}", AGAIN)]
    build = f"built for CUDA {answer['cuda']}" if answer["cuda"] else "built without CUDA"
    devices = ", ".join(answer["devices"]) or "no CUDA device"
    text = f"{answer['version']}, {build}, sees {devices}; uses {answer['capability']} on the CPU"
    if not answer["right"]:
        return [Finding("problem", "torch", f"{text}; computes wrongly", AGAIN)]
    if cuda_devices() and not answer["devices"]:
        mend = "update the NVIDIA driver" if answer["cuda"] else "install the CUDA build of torch"
        text += f"; but the driver shows {', '.join(cuda_devices())}"
        return [Finding("problem", "torch", text, f"{mend}, {ON_CPU}")]
    return [Finding("ok", "torch", text)]


def timm(folder: Path) -> Sequence[Finding]:
    try:
        answer = ask("timm")
    except AnswerError as error:
        mend = "torchvision and torch must be builds for each other: install both with one pip command"
        return [Finding("problem", "timm", f"does not work: {error}", mend)]
    text = f"{answer['timm']} on torchvision {answer['torchvision']}"
    return [Finding("ok" if answer["right"] else "problem", "timm", text, "" if answer["right"] else AGAIN)]


def onnxruntime(folder: Path) -> Sequence[Finding]:
    """The build, and how many distributions of it are installed: two overwrite each other's files."""
    installed = {distribution.metadata["Name"] or "" for distribution in metadata.distributions()}
    names = sorted(name for name in installed if name.lower().startswith("onnxruntime") and "extensions" not in name)
    try:
        text = f"{ask('onnxruntime')['version']}, from {' and '.join(names) or 'no distribution'}"
    except AnswerError as error:
        return [Finding("problem", "onnxruntime", f"does not work: {error}", AGAIN)]
    if len(names) > 1:
        single = "onnxruntime-gpu[cuda,cudnn]" if "onnxruntime-gpu" in names else "onnxruntime"
        mend = f'python -m pip uninstall -y {" ".join(names)}, then python -m pip install "{single}"'
        return [Finding("note", "onnxruntime", f"{text}: they overwrite each other's files", mend)]
    return [Finding("ok", "onnxruntime", text)]


def providers(folder: Path) -> Sequence[Finding]:
    """Each provider that onnxruntime says it has, in a session of its own."""
    try:
        available = ask("onnxruntime")["providers"]
    except AnswerError:
        return []  # said already
    return [_provider(name) for name in available]


def _provider(name: str) -> Finding:
    """Whether a provider loads and computes rightly; what does not is a problem only where it would be used."""
    what = name.removesuffix("ExecutionProvider").replace("Tensorrt", "TensorRT")
    try:
        answer = ask("provider", name)
        fault = (
            "" if answer["loads"] and answer["right"] else "computes wrongly" if answer["loads"] else "does not load"
        )
    except AnswerError as error:
        fault = f"does not work: {error}"
    if not fault:
        return Finding("ok", what, "onnxruntime runs a model on it")
    if what == "CPU":
        return Finding("problem", what, fault, AGAIN)
    if not cuda_devices():
        return Finding("ok", what, "not used: there is no CUDA device here")
    if what == "CUDA":
        mend = f'python -m pip install "onnxruntime-gpu[cuda,cudnn]" in the version that fits the driver, {ON_CPU}'
        return Finding("problem", what, fault, mend)
    mend = "only `runtime: tensorrt` needs it: install NVIDIA's TensorRT libraries" if what == "TensorRT" else ""
    return Finding("note" if mend else "ok", what, fault, mend)


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
        answer = ask("openvino")
    except AnswerError as error:
        return [Finding("note", "openvino", f"does not work: {error}", mend)]
    text = f"{answer['version']}, knows {', '.join(answer['types'])} on this CPU"
    if not answer["right"]:
        return [Finding("note", "openvino", f"{text}; computes wrongly", mend)]
    return [Finding("ok", "openvino", text)]


def inductor(folder: Path) -> Sequence[Finding]:
    """Whether PyTorch's compiler compiles: nothing but its own runtime needs that."""
    device: runtimes.Device = "cuda" if cuda_devices() else "cpu"
    if reason := runtimes.unavailable_reason("inductor", device):
        return [Finding("note", "inductor", reason, "only `runtime: inductor` needs it")]
    try:
        answer = ask("inductor", device)
    except AnswerError as error:
        return [Finding("note", "inductor", f"does not work: {error}", "only `runtime: inductor` needs it")]
    text = f"{answer['compiler']} compiled a small network for {device} in {answer['seconds']:.0f} s"
    if not answer["right"]:
        return [Finding("note", "inductor", f"{text}; it computes wrongly", "only `runtime: inductor` needs it")]
    return [Finding("ok", "inductor", text)]
