"""How the input of a graph from elsewhere is made of a frame: by the preset, by what its owner says, or as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.artifacts.imports.outputs import plain
from bench.errors import UserError, listed, quoted
from bench.records import GraphInput, Preprocessing

if TYPE_CHECKING:
    import onnx

    from bench.artifacts.onnx_graph import GraphWriter

# Values of TensorProto.DataType, with NumPy's names.
_FLOATS = {1: "float32", 10: "float16", 11: "float64"}
_UINT8 = 2
_PER_BYTE = 1 / 255


@dataclass(frozen=True)
class InputReading:
    """The input of a graph: its tensor, its type, its axes, and how its values are made of a frame.

    `batch` is the number of frames that it is fixed to, None where it is not. `preprocessing` is what happens to a
    float input after `scale`; None for bytes, which are given as they are. `layout_is_guess`: neither its owner nor its
    sides tell the axes.
    """

    name: str
    kind: int
    layout: Literal["nchw", "nhwc"]
    batch: int | None
    size: int
    channels: Literal["rgb", "bgr"]
    scale: float = _PER_BYTE
    preprocessing: Preprocessing | None = None
    by_preset: bool = True
    layout_is_guess: bool = False

    def prefixed(self, prefix: str) -> InputReading:
        """The same of a graph in which all names begin with `prefix`."""
        return replace(self, name=f"{prefix}{self.name}")

    @property
    def sentence(self) -> str:
        """In words, for the report."""
        batch = "n" if self.batch is None else str(self.batch)
        sides = (batch, "3", "h", "w") if self.layout == "nchw" else (batch, "h", "w", "3")
        axes = f"[{', '.join(sides)}]"
        if self.preprocessing is None:
            return f"input {quoted(plain(self.name))} {axes}: frames as bytes, {self.channels.upper()}"
        scale = "1/255" if self.scale == _PER_BYTE else f"{self.scale:g}"
        given, parts = self.preprocessing, [f"times {scale}"]
        if given.mean != (0, 0, 0) or given.std != (1, 1, 1):
            parts.append(f"mean {_numbers(given.mean)}, std {_numbers(given.std)}")
        if given.wavelet != "none":
            parts.append(f"{given.wavelet} blend")
        by = "by the preset" if self.by_preset else "as given"
        return (
            f"input {quoted(plain(self.name))} {axes}, {_FLOATS[self.kind]}: {', '.join(parts)}, "
            f"{self.channels.upper()}, {by}"
        )


def read(graph: onnx.GraphProto, preprocessing: Preprocessing, given: GraphInput | None) -> InputReading:
    """Raises `UserError` for an input that no frame can be turned into, or that its owner has misdescribed."""
    given = given or GraphInput()
    value = _only_input(graph)
    kind = value.type.tensor_type.elem_type
    if kind != _UINT8 and kind not in _FLOATS:
        raise UserError(
            f"its input {quoted(value.name)} is {_type_name(kind)}; expected uint8, {listed(_FLOATS.values())}: export "
            "it with one of these"
        )
    sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
    layout = _layout(value.name, sides, given)
    _check_sides(value.name, sides, layout, preprocessing)
    channels = given.channels or (preprocessing.channels if kind in _FLOATS else "rgb")
    is_guess = given.layout is None and not (sides[1] or sides[3])
    reading = InputReading(
        value.name, kind, layout, sides[0] or None, preprocessing.size, channels, layout_is_guess=is_guess
    )
    if kind == _UINT8:
        values = [key for key in ("scale", "mean", "std", "wavelet") if getattr(given, key) is not None]
        if values:
            raise UserError(
                f"its input {quoted(value.name)} is uint8, which takes frames as they are: leave out "
                f"{listed(f'input: {key}' for key in values)}"
            )
        return reading
    changed = {key: value for key in ("mean", "std", "wavelet") if (value := getattr(given, key)) is not None}
    by_preset = given.scale is None and given.channels is None and not changed
    if given.scale is not None:
        # The preset's are of values up to 1, and would be of another scale.
        changed = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)} | changed
    return replace(
        reading,
        scale=_PER_BYTE if given.scale is None else given.scale,
        preprocessing=replace(preprocessing, channels=channels, **changed),
        by_preset=by_preset,
    )


def _only_input(graph: onnx.GraphProto) -> onnx.ValueInfoProto:
    """The input that takes frames; initializers of old formats are listed as inputs too."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = listed((value.name for value in inputs), 8) or "none"
        raise UserError(
            f"it has {len(inputs)} inputs ({names}), and frames are one; export a network that takes frames alone"
        )
    if not inputs[0].type.HasField("tensor_type"):
        raise UserError(f"its input {quoted(inputs[0].name)} is no tensor; frames are one tensor")
    only: onnx.ValueInfoProto = inputs[0]
    return only


def _layout(name: str, sides: list[int], given: GraphInput) -> Literal["nchw", "nhwc"]:
    """By its owner's word, else by the side that has three channels; channels first where neither says it."""
    if sides and len(sides) != 4:
        raise UserError(f"its input {quoted(name)} has {len(sides)} axes; expected four, [n, 3, h, w] or [n, h, w, 3]")
    if not sides:
        sides.extend([0, 0, 0, 0])
    layout = given.layout or ("nhwc" if sides[3] == 3 and sides[1] != 3 else "nchw")
    channels = sides[1] if layout == "nchw" else sides[3]
    if channels not in (0, 3):
        by_owner = " (as `input: {layout: …}` says)" if given.layout else ""
        raise UserError(
            f"its input {quoted(name)} has the sides {sides}, and {channels} channels if it is {layout}{by_owner}; "
            "frames have 3"
        )
    return layout


def _check_sides(name: str, sides: list[int], layout: str, preprocessing: Preprocessing) -> None:
    height, width = sides[2:] if layout == "nchw" else sides[1:3]
    for side in (height, width):
        if side not in (0, preprocessing.size):
            raise UserError(
                f"its input {quoted(name)} is {height or 'any'}×{width or 'any'} pixels, and the preprocessing "
                f"gives {preprocessing.size}×{preprocessing.size}; export it for that size, or judge it as a detector "
                "of its own, with its own `preprocessing: {preset: …, size: …}`"
            )


def write(writer: GraphWriter, reading: InputReading, prefix: str) -> str:
    """Write what turns `frames`, uint8 RGB [n, 3, size, size], into the graph's input; the tensor's name."""
    tensor = "frames"
    if reading.preprocessing is not None:
        tensor = _normalised(writer, reading, prefix)
        if reading.kind != 1:
            tensor = writer.node("Cast", [tensor], f"{prefix}typed", to=reading.kind)
    elif reading.channels == "bgr":
        order = writer.constant(f"{prefix}order", _int64(2, 1, 0))
        tensor = writer.node("Gather", [tensor, order], f"{prefix}bgr", axis=1)
    if reading.layout == "nhwc":
        tensor = writer.node("Transpose", [tensor], f"{prefix}nhwc", perm=[0, 2, 3, 1])
    return tensor


def _normalised(writer: GraphWriter, reading: InputReading, prefix: str) -> str:
    """What `detectors.preprocessing.Preprocess` computes, and `scale` in the place of 1/255."""
    import numpy as np

    settings = reading.preprocessing
    assert settings is not None
    std, mean = np.array(settings.std), np.array(settings.mean)
    order = [2, 1, 0] if settings.channels == "bgr" else [0, 1, 2]
    weight = np.diag(reading.scale / std)[order].astype(np.float32).reshape(3, 3, 1, 1)
    weight_name = writer.constant(f"{prefix}scale", weight)
    bias = writer.constant(f"{prefix}shift", (-mean / std)[order].astype(np.float32))
    floats = writer.node("Cast", ["frames"], f"{prefix}floats", to=1)
    scaled = writer.node("Conv", [floats, weight_name, bias], f"{prefix}scaled", kernel_shape=[1, 1])
    return scaled if settings.wavelet == "none" else _blended(writer, scaled, reading.size, prefix)


def _blended(writer: GraphWriter, scaled: str, size: int, prefix: str) -> str:
    """What `detectors.preprocessing.WaveletBlend` computes, in operators of opset 11."""
    import numpy as np

    from bench.detectors.wavelet import SYM2_LOW_PASS

    taps = np.array(SYM2_LOW_PASS[::-1])
    kernel = np.tile(np.outer(taps, taps).astype(np.float32), (3, 1, 1, 1))
    pads = writer.constant(f"{prefix}pads", _int64(0, 0, 2, 2, 0, 0, 2 + size % 2, 2 + size % 2))
    extended = writer.node("Pad", [scaled, pads], f"{prefix}extended", mode="reflect")
    low_pass = writer.constant(f"{prefix}low_pass", kernel)
    band = writer.node("Conv", [extended, low_pass], f"{prefix}band", kernel_shape=[4, 4], strides=[2, 2], group=3)
    empty = writer.constant(f"{prefix}none", np.zeros(0, np.float32))
    shape = writer.node("Shape", [scaled], f"{prefix}shape")
    resized = writer.node(
        "Resize", [band, empty, empty, shape], f"{prefix}resized", mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    total = writer.node("Add", [scaled, resized], f"{prefix}total")
    half = writer.constant(f"{prefix}half", np.float32(0.5))
    return writer.node("Mul", [total, half], f"{prefix}blended")


def _int64(*values: int) -> object:
    import numpy as np

    return np.array(values, np.int64)


def _numbers(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"[{', '.join(f'{value:g}' for value in values)}]"


def _type_name(kind: int) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(kind)).lower()
