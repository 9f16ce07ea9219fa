"""How a file of weights is read: what its owner says of it, and what was made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

ClassName: TypeAlias = Literal["real", "fake"]
OutputKind: TypeAlias = Literal["logits", "probability"]


@dataclass(frozen=True)
class GraphInput:
    """What the owner of an ONNX file says of its input, in place of the preset; None where that holds.

    A frame's values, 0 to 255, are multiplied by `scale`, which goes with mean 0 and std 1; the rest is as in
    `Preprocessing`. `layout` is the
    order of the axes.
    """

    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    channels: Literal["rgb", "bgr"] | None = None
    wavelet: Literal["none", "sym2"] | None = None
    layout: Literal["nchw", "nhwc"] | None = None


@dataclass(frozen=True)
class Conventions:
    """What names in a file of weights cannot tell; None where the owner says nothing.

    `key` is where the set of weights lies in a file that holds several. `positive` is the class that a single high
    logit speaks for, `classes` are those of two logits in order. `flavour` is the arithmetic, of those that the
    detector's family knows.

    Of an ONNX file, `output` says whether its output is logits or probabilities, `output_name` which of several
    outputs it is, and `input` how its input is made of a frame.
    """

    key: str | None = None
    positive: ClassName | None = None
    classes: tuple[ClassName, ClassName] | None = None
    flavour: str | None = None
    output: OutputKind | None = None
    output_name: str | None = None
    input: GraphInput | None = None


CLASS_ACTIVATION = "class-activation map"
"""What maps are called that come from the weights of one layer over the last feature map."""


@dataclass(frozen=True)
class Reading:
    """What was made of a file of weights, or of an ONNX file.

    `names` says whose names its tensors have and what stands before them, `logits` which layer gives them and what
    they mean, `arithmetic` what names alone do not fix and how it is known: empty where there is no choice. `heatmap`
    says how maps are made where not by one layer's weights, `map_kind` what they are called. `left_out` names tensors
    of the file that are of no part of the network; `warnings` are sentences to read before the numbers.

    Of an ONNX file, `names` says what its graph is, `logits` how its output was read, `arithmetic` how its input.
    """

    names: str
    logits: str
    arithmetic: str
    left_out: str = ""
    warnings: tuple[str, ...] = ()
    heatmap: str = ""
    map_kind: str = CLASS_ACTIVATION

    @property
    def sentence(self) -> str:
        """All but the warnings, on one line."""
        left_out = f"left out: {self.left_out}" if self.left_out else ""
        return "; ".join(filter(None, (self.names, self.logits, self.arithmetic, self.heatmap, left_out)))


@dataclass(frozen=True)
class InputCandidate:
    """A preprocessing or an arithmetic, and how far batch norms' inputs are under it from those of training (0 at
    best)."""

    title: str
    misfit: float
    is_given: bool


@dataclass(frozen=True)
class InputFit:
    """How well preprocessings, and the arithmetics of a family, fit a detector's weights; the best first.

    Without batch norms there are none: it can't be told.
    """

    CLEARLY: ClassVar = 4.0
    """Frames unlike those of training favour a wrong setting too, by up to 3.98 times where it was measured."""

    inputs: tuple[InputCandidate, ...]
    flavours: tuple[InputCandidate, ...] = ()

    @property
    def warning(self) -> str | None:
        """What a reader must know where another preprocessing fits clearly better than the given one."""
        given = next((candidate for candidate in self.inputs if candidate.is_given), None)
        if given is None or given.misfit < self.CLEARLY * self.inputs[0].misfit:
            return None
        best = self.inputs[0]
        return (
            f"These weights look trained with another preprocessing: {best.title} (misfit {best.misfit:.2g}) instead "
            f"of {given.title} (misfit {given.misfit:.2g}); `bench plan --fit` shows all. Check `preprocessing:`."
        )
