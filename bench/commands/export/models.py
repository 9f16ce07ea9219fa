"""The model files of an export, and the versions of the libraries that they were tested with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import UserError, quoted
from bench.provenance import file_digest, version
from bench.records import LOWERED, ONNX, Built, Executed, Format, InputSpec, ModelFile

FORMATS: tuple[Format, ...] = ("onnx", "safetensors")


@dataclass(frozen=True)
class Versions:
    """The versions of the libraries that `predict.py` of an ONNX file needs; Pillow only where it resizes."""

    numpy: str
    opencv: str
    onnxruntime: str
    pillow: str | None = None

    @property
    def by_library(self) -> dict[str, str]:
        """By the names that `pip install` takes."""
        versions = {"numpy": self.numpy, "opencv-python-headless": self.opencv, "onnxruntime": self.onnxruntime}
        return versions | ({"pillow": self.pillow} if self.pillow else {})

    @property
    def requirements(self) -> str:
        """As `pip install` takes them."""
        return " ".join(f"{name}=={version}" for name, version in self.by_library.items())


OLDEST_PILLOW = "9.4.0"
OLDEST_PYTHON = "3.11"
"""The Python that the oldest versions were tested with; an older Python can have older libraries."""
_OLDEST = Versions(numpy="1.24.2", opencv="3.4.17.61", onnxruntime="1.15.0")
OLDEST = {
    "float": _OLDEST,
    "int8": _OLDEST,
    "int8 weights": _OLDEST,
    "int4 weights": Versions(numpy="1.23.2", opencv="3.4.17.61", onnxruntime="1.19.0"),
}
"""By the stored type: the oldest versions that give the same scores. `tests/commands/test_export.py` installs them."""


def oldest(built: Built, spec: InputSpec) -> Versions:
    versions = OLDEST[built.stored if built.quantised else "float"]
    return replace(versions, pillow=OLDEST_PILLOW) if _needs_pillow(spec) else versions


def _needs_pillow(spec: InputSpec) -> bool:
    return any(spec.filter_for(larger=larger).startswith("pil-") for larger in (False, True))


def installed(spec: InputSpec) -> Versions:
    import cv2

    opencv = version("opencv-python-headless")
    # OpenCV is one library under several distribution names, whose last numbers differ.
    opencv = f"{cv2.__version__}.*" if opencv == "absent" else opencv
    pillow = version("pillow") if _needs_pillow(spec) else None
    return Versions(version("numpy"), opencv, version("onnxruntime"), pillow)


def checked_format(form: str) -> Format:
    """The format of this name; `UserError` where there is none."""
    for format_ in FORMATS:
        if form == format_:
            return format_
    raise UserError(f"--format: {quoted(form)} is no format; expected {' or '.join(FORMATS)}")


def refuse_other_format(form: Format, built: Built, variant: str) -> None:
    """Raise `UserError` where this variant cannot be exported in this format."""
    if form == "safetensors" and built.kind != "torch":
        raise UserError(
            f"--format safetensors: {quoted(variant)} is stored as {built.stored}, and a quantised variant is an ONNX "
            "file; leave --format out, or export the variant that it was quantised from"
        )


def write(built: Built, form: Format, folder: Path) -> dict[str, ModelFile]:
    """Write the variant's model files into `folder`, and return them; `predict.py` runs the first."""
    if form == "safetensors":
        weights = folder / built.file.name
        shutil.copy2(built.file, weights)
        return _described({weights: (built.stored, ("pytorch",))})

    from bench.artifacts.onnx_export import copy_for_old_readers
    from bench.artifacts.onnx_files import onnx_file
    from bench.runtimes.onnxruntime import lowered_file

    model = folder / ONNX
    copy_for_old_readers(onnx_file(built), model)
    if built.arranged:
        copy_for_old_readers(lowered_file(built), folder / LOWERED)
        artifact = (built.stored, ("onnxruntime", "openvino"))
        return _described({folder / LOWERED: (built.stored, ("onnxruntime",)), model: artifact})
    if built.imported:
        return _described({model: (built.stored, ("onnxruntime",))})
    # What is stored in half is exported in float: no library computes in half on a CPU.
    stored = built.stored if built.quantised else "fp32"
    opencv = () if built.stored == "int4 weights" else ("opencv",)
    return _described({model: (stored, ("onnxruntime", "openvino", *opencv))})


def executed_file(built: Built, executed: Executed, files: Mapping[str, ModelFile]) -> str | None:
    """The exported file that ran when the variant was evaluated; None where the runtime ran a file of its own.

    What an int8 artifact is lowered to depends on the processor; the answer is for this one.
    """
    from bench.runtimes import onnxruntime, openvino
    from bench.runtimes.onnxruntime.lowering import EVERYWHERE

    if executed.runtime == "pytorch":
        return built.file.name if built.file.name in files else None
    if built.stored == "int8" and executed.device == "cpu":
        if executed.runtime == "onnxruntime" and built.arranged:
            return LOWERED if onnxruntime.chosen(built) == EVERYWHERE else None
        if executed.runtime == "openvino" and openvino.arithmetic(built, "cpu"):
            return None
    return ONNX if executed.runtime != "inductor" and ONNX in files else None


def described_again(files: Mapping[str, ModelFile], folder: Path) -> dict[str, ModelFile]:
    """The same files after their content changed."""
    return _described({folder / name: (file.stored, file.runs_in) for name, file in files.items()})


def _described(files: dict[Path, tuple[str, tuple[str, ...]]]) -> dict[str, ModelFile]:
    return {
        path.name: ModelFile(stored, path.stat().st_size, file_digest(path), runs_in)
        for path, (stored, runs_in) in files.items()
    }
