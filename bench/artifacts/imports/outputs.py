"""How the output of a graph from elsewhere is read: logits or probabilities, of one class or two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.artifacts.onnx_graph import producers
from bench.errors import UserError, listed, nearest, quoted
from bench.records import ClassName, Conventions, OutputKind

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from bench.artifacts.onnx_graph import GraphWriter

PREFIX = "network/"
"""Before every name of a graph from elsewhere, so that none is one of ours."""

# Values of TensorProto.DataType.
_FLOATS = (1, 10, 11, 16)
_UNKNOWN = 0
# A probability nearer to 0 or 1 than this counts as this near: the logit of 0 would be infinite.
_LEAST_OF_ONE, _LEAST_OF_TWO = 1e-7, 1e-30
# How far two probabilities may be from 1 together, where they were computed in half precision.
_SUM_TOLERANCE = 0.01
# What passes the values of an output on without changing what they mean.
_PASSING = {
    "Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "QuantizeLinear",
    "DequantizeLinear", "Slice", "Gather",
}  # fmt: skip
_MEANINGS: dict[str, OutputKind] = {
    "Softmax": "probability", "Sigmoid": "probability", "QLinearSigmoid": "probability",
    "QLinearSoftmax": "probability", "LogSoftmax": "logits",
    "Gemm": "logits", "MatMul": "logits", "Conv": "logits", "QGemm": "logits",
    "QLinearMatMul": "logits", "QLinearConv": "logits", "MatMulInteger": "logits", "ConvInteger": "logits",
    "MatMulNBits": "logits", "MatMulIntegerToFloat": "logits",
    "GlobalAveragePool": "logits", "FusedGemm": "logits", "FusedMatMul": "logits",
}  # fmt: skip

# What makes shares of several columns.
_SHARES = {"Softmax", "LogSoftmax", "QLinearSoftmax"}
_SELECTING = {"Slice", "Gather"}


@dataclass(frozen=True)
class OutputReading:
    """The output of a graph: its tensor, how many columns it has, and what these mean."""

    name: str
    columns: int
    kind: OutputKind
    kind_by: str
    classes: tuple[ClassName, ...]

    @property
    def sentence(self) -> str:
        """In words, for the report."""
        what = {"logits": "logit", "probability": "probability"}[self.kind]
        nouns = f"one {what}" if self.columns == 1 else f"two {'logits' if what == 'logit' else 'probabilities'}"
        return f"output {quoted(plain(self.name))}: {nouns}, {self.kind_by}, of {', '.join(self.classes)}"


def output_name(graph: onnx.GraphProto, given: str | None) -> str:
    """The output with scores: the one that is asked for, or the only one that can be it. Else `UserError`."""
    names = [value.name for value in graph.output]
    if given is not None:
        if given not in names:
            raise UserError(
                f"it has no output {quoted(given)}{nearest(given, names)}; its outputs are: {listed(names, 8)}"
            )
        return given
    fitting = [value.name for value in graph.output if _may_hold_scores(value)]
    if len(names) == 1 and not fitting:
        raise _no_scores(graph.output[0])
    if len(fitting) != 1:
        outputs = listed((f"{value.name} {_shape_text(value)}" for value in graph.output), 8)
        raise UserError(
            f"it has several outputs, and {len(fitting) or 'none'} of them could hold scores: {outputs}; name it with "
            "`output_name: …`"
        )
    return str(fitting[0])


def _may_hold_scores(value: onnx.ValueInfoProto) -> bool:
    """Whether an output is of floats and, as far as its shape says, has one number or two for a frame."""
    tensor = value.type.tensor_type
    sides = [side.dim_value for side in tensor.shape.dim]
    return tensor.elem_type in (*_FLOATS, _UNKNOWN) and (
        not tensor.HasField("shape") or len(sides) <= 1 or (sides[1] in (0, 1, 2) and set(sides[2:]) <= {0, 1})
    )


def _no_scores(value: onnx.ValueInfoProto) -> UserError:
    kind = value.type.tensor_type.elem_type
    why = "" if kind in (*_FLOATS, _UNKNOWN) else " (bytes or labels instead of scores cannot be judged)"
    return UserError(
        f"its output {quoted(value.name)} is {_type_name(kind)} {_shape_text(value)}{why}; expected one or two floats "
        "a frame"
    )


def read(model: onnx.ModelProto, name: str, values: NDArray[np.floating], conventions: Conventions) -> OutputReading:
    """What `values` [n, columns], those of a few frames, mean. Raises `UserError` where that is not known."""
    columns = values.shape[1]
    given, seen = conventions.output, _meaning(model, name)
    if given and seen and given != seen[0]:
        raise UserError(
            f"its output {quoted(plain(name))} is that of {seen[1]}, so it is `output: {seen[0]}`, not {given}"
        )
    kind = given or (seen[0] if seen else None)
    if kind is None:
        raise UserError(
            f"nothing tells whether its output {quoted(plain(name))} is logits or probabilities: add "
            "`output: logits` or `output: probability`"
        )
    if kind == "probability":
        _check_probabilities(name, values)
    if columns == 1 and seen and seen[1] in _SHARES and not _selects(model, name):
        raise UserError(
            f"its output {quoted(plain(name))} is a {seen[1]} of one column, which is the same for every frame; export "
            "the logit, or its Sigmoid"
        )
    by = "as given" if given else f"by its last operator, {seen[1]}" if seen else ""
    return OutputReading(name, columns, kind, by, _classes(name, columns, kind, conventions))


def _classes(name: str, columns: int, kind: OutputKind, conventions: Conventions) -> tuple[ClassName, ...]:
    """What each column speaks for, by its owner's words; of two they are real and fake otherwise."""
    if columns == 2:
        if conventions.positive:
            raise UserError(
                f"its output {quoted(plain(name))} has two columns, and `positive:` is for one; without it they are "
                "real and fake, and `classes: [fake, real]` says the contrary"
            )
        return conventions.classes or ("real", "fake")
    if conventions.classes:
        raise UserError(
            f"its output {quoted(plain(name))} has one column, and `classes:` is for two; write `positive: fake`"
        )
    if conventions.positive is None:
        meant = "its sigmoid" if kind == "logits" else "it"
        raise UserError(
            f"its output {quoted(plain(name))} has one column, and nothing tells what a high value speaks for: add "
            f"`positive: fake` where {meant} is P(fake), or `positive: real`"
        )
    return (conventions.positive,)


def _check_probabilities(name: str, values: NDArray[np.floating]) -> None:
    """Raise `UserError` where probabilities leave 0 to 1, or two of them do not add up to 1."""
    import numpy as np

    least, most = float(values.min()), float(values.max())
    if least < -_SUM_TOLERANCE or most > 1 + _SUM_TOLERANCE:
        raise UserError(
            f"its output {quoted(plain(name))} is said to be probabilities, and it has values from {least:.4g} to "
            f"{most:.4g}; write `output: logits`"
        )
    if values.shape[1] == 2 and (off := float(np.abs(values.sum(1) - 1).max())) > _SUM_TOLERANCE:
        raise UserError(
            f"its output {quoted(plain(name))} has two probabilities that do not add up to 1 (off by {off:.2g}); two "
            "classes of one softmax do. Name an output with logits, or export one column"
        )


def _meaning(model: onnx.ModelProto, name: str) -> tuple[OutputKind, str] | None:
    """What the last operator that computes the output says of it, and that operator; None where it says nothing."""
    written_by = producers(model.graph)
    *_, node = (None, *_way_back(model, name))
    if node is not None and node.op_type == "Mul":
        node = _integer_product(node, written_by) or node
    if node is None or node.op_type not in _MEANINGS:
        return None
    return _MEANINGS[node.op_type], node.op_type


def _selects(model: onnx.ModelProto, name: str) -> bool:
    """Whether the output is some of the columns that the last operator which computes it writes."""
    return any(node.op_type in _SELECTING for node in _way_back(model, name))


def _way_back(model: onnx.ModelProto, name: str) -> Iterator[onnx.NodeProto]:
    """The nodes that pass the output on, the last one first, and the one that computes it."""
    written_by = producers(model.graph)
    while (node := written_by.get(name)) is not None:
        yield node
        if node.op_type not in _PASSING and not _adds_a_constant(model, node):
            return
        name = next((side for side in node.input if side in written_by), "")


def _integer_product(scaled: onnx.NodeProto, written_by: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The product of integers that a node gives its scale, as dynamic quantisation writes it; None where it is none."""
    casts = [written_by[side] for side in scaled.input if side in written_by and written_by[side].op_type == "Cast"]
    products = (written_by[cast.input[0]] for cast in casts if cast.input[0] in written_by)
    return next((node for node in products if node.op_type in ("MatMulInteger", "ConvInteger")), None)


def _adds_a_constant(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether it adds a bias, as behind a MatMul."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return node.op_type == "Add" and any(side in constants for side in node.input)


def write(writer: GraphWriter, reading: OutputReading, tensor: str, prefix: str) -> None:
    """Write what turns `tensor`, the graph's output, into `logits`, float32 [n, 2], real first."""
    import numpy as np

    floats = writer.node("Cast", [tensor], f"{prefix}floats", to=1)
    shape = writer.constant(f"{prefix}shape", np.array([-1, reading.columns], np.int64))
    columns = writer.node("Reshape", [floats, shape], f"{prefix}columns")
    if reading.kind == "probability":
        columns = _logits(writer, columns, reading.columns, prefix)
    if reading.columns == 2:
        order = [reading.classes.index("real"), reading.classes.index("fake")]
        writer.node("Gather", [columns, writer.constant(f"{prefix}order", np.array(order, np.int64))], "logits", axis=1)
    else:
        # The other class has the logit 0.
        before = reading.classes[0] == "fake"
        pads = writer.constant(f"{prefix}pads", np.array([0, int(before), 0, int(not before)], np.int64))
        writer.node("Pad", [columns, pads], "logits")


def _logits(writer: GraphWriter, probabilities: str, columns: int, prefix: str) -> str:
    """Logits whose sigmoid, or softmax of two, are these probabilities."""
    import numpy as np

    margin = _LEAST_OF_ONE if columns == 1 else _LEAST_OF_TWO
    least = writer.constant(f"{prefix}least", np.float32(margin))
    most = writer.constant(f"{prefix}most", np.float32(1 - margin))
    clipped = writer.node("Clip", [probabilities, least, most], f"{prefix}clipped")
    logarithm = writer.node("Log", [clipped], f"{prefix}log")
    if columns == 2:
        return logarithm
    rest = writer.node("Sub", [writer.constant(f"{prefix}one", np.float32(1)), clipped], f"{prefix}rest")
    rest_logarithm = writer.node("Log", [rest], f"{prefix}rest_log")
    return writer.node("Sub", [logarithm, rest_logarithm], f"{prefix}logit")


def plain(name: str) -> str:
    """The name of a tensor as the file has it."""
    return name.removeprefix(PREFIX)


def _shape_text(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    sides = [str(side.dim_value or side.dim_param or "?") for side in tensor.shape.dim]
    return f"[{', '.join(sides)}]" if tensor.HasField("shape") else "of unknown shape"


def _type_name(kind: int) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(kind)).lower()
