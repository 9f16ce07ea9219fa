"""A graph from elsewhere with any number of frames: its batch axis set free, or the whole of it in a loop."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from bench.artifacts.imports.inputs import InputReading
    from bench.artifacts.imports.outputs import OutputReading
    from bench.artifacts.onnx_graph import GraphWriter

_BATCH = "n"


def fix_sides(model: onnx.ModelProto, reading: InputReading, batch: int | None) -> None:
    """Give the input the preprocessing's size, and `batch` frames or any number of them, in place.

    What was inferred for other shapes is forgotten.
    """
    graph = model.graph
    value = next(value for value in graph.input if value.name == reading.name)
    sides: list[int | str] = [batch or _BATCH, 3, reading.size, reading.size]
    if reading.layout == "nhwc":
        sides = [sides[0], *sides[2:], 3]
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for side in sides:
        dimension = shape.dim.add()
        if isinstance(side, int):
            dimension.dim_value = side
        else:
            dimension.dim_param = side
    graph.ClearField("value_info")
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")


def set_free(model: onnx.ModelProto, reading: InputReading) -> onnx.ModelProto:
    """A copy that takes any number of frames, as far as shapes that it holds as constants allow.

    Whether it does is for a trial to tell.
    """
    import numpy as np
    from onnx import numpy_helper

    free = copy.deepcopy(model)
    fix_sides(free, reading, None)
    if reading.batch is None:
        return free
    constants = {tensor.name: tensor for tensor in free.graph.initializer}
    for index, node in enumerate(free.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        if any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if shape.size == 0 or shape[0] != reading.batch:
            continue
        # Zero keeps the first side of what is reshaped; where another side is open, there is no other way.
        shape[0] = 0 if -1 in shape[1:] else -1
        name = f"{node.input[1]}/free_{index}"
        free.graph.initializer.append(numpy_helper.from_array(shape.astype(np.int64), name))
        node.input[1] = name
    return free


def write_loop(
    writer: GraphWriter, model: onnx.ModelProto, tensor: str, reading: InputReading, output: OutputReading
) -> str:
    """Write the graph as the body of a loop over blocks of the frames in `tensor`; its output, [n, columns].

    The last block is filled up with zeros, whose answers are cut off.
    """
    import numpy as np

    block, body = reading.batch or 1, _body(model, reading, output)
    sides = [side.dim_value for side in body.input[0].type.tensor_type.shape.dim]
    start, end = (writer.constant(f"loop/{name}", np.array([i], np.int64)) for i, name in enumerate(("start", "end")))
    shape = writer.node("Shape", [tensor], "loop/shape")
    count = writer.node("Slice", [shape, start, end], "loop/count")
    if block > 1:
        tensor = _filled_up(writer, tensor, count, start, sides, _numpy_type(reading.kind))
    block_shape = writer.constant("loop/block_shape", np.array([-1, *sides], np.int64))
    stacked = writer.node("Reshape", [tensor, block_shape], "loop/blocks")
    answers = writer.node("Scan", [stacked], "loop/answers", body=body, num_scan_inputs=1)
    flat_shape = writer.constant("loop/flat_shape", np.array([-1, output.columns], np.int64))
    flat = writer.node("Reshape", [answers, flat_shape], "loop/flat")
    return flat if block == 1 else writer.node("Slice", [flat, start, count], "loop/cut")


def _body(model: onnx.ModelProto, reading: InputReading, output: OutputReading) -> onnx.GraphProto:
    """The graph for one block of frames."""
    from onnx import helper

    body = copy.deepcopy(model)
    fix_sides(body, reading, reading.batch or 1)
    graph = body.graph
    answer = next(value for value in graph.output if value.name == output.name)
    graph.ClearField("output")
    graph.output.extend([helper.make_tensor_value_info(output.name, answer.type.tensor_type.elem_type, None)])
    graph.name = "block"
    return graph


def _filled_up(writer: GraphWriter, tensor: str, count: str, start: str, sides: Sequence[int], kind: Any) -> str:
    """`tensor` with zeros behind it, as many as the last block of `sides` lacks."""
    import numpy as np

    block = sides[0]
    zeros = writer.constant("loop/filling", np.zeros([block - 1, *sides[1:]], kind))
    longer = writer.node("Concat", [tensor, zeros], "loop/longer", axis=0)
    size = writer.constant("loop/size", np.array([block], np.int64))
    filling = writer.constant("loop/filling_size", np.array([block - 1], np.int64))
    total = writer.node("Add", [count, filling], "loop/total")
    blocks = writer.node("Div", [total, size], "loop/block_count")
    whole = writer.node("Mul", [blocks, size], "loop/whole")
    return writer.node("Slice", [longer, start, whole], "loop/frames")


def _numpy_type(kind: int) -> Any:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(kind)
