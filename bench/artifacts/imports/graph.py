"""A graph from elsewhere between our own input and output: `frames` in, `logits` out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.artifacts.imports import batches, inputs, outputs
from bench.artifacts.imports.outputs import PREFIX
from bench.artifacts.onnx_export import least_ir_version
from bench.artifacts.onnx_graph import GraphWriter
from bench.errors import UserError, listed

if TYPE_CHECKING:
    import onnx

    from bench.artifacts.imports.inputs import InputReading
    from bench.artifacts.imports.outputs import OutputReading

# What our own input and output are written in: Pad and Clip with inputs.
_LEAST_OPSET, _CONVERTED_OPSET = 11, 13
# Those that onnxruntime brings.
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"}


def prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose names begin with `PREFIX`, without functions, texts, and constants that are nodes.

    Raises `UserError` for operators that onnxruntime does not have.
    """
    import onnx
    from onnx import compose, inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    _refuse_unknown_domains(model)
    if (opset := _opset(model)) < _LEAST_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, _CONVERTED_OPSET)
        except Exception as error:  # of a converter in C++
            raise UserError(
                f"it is of opset {opset}, and cannot be brought to {_CONVERTED_OPSET}: export it with a newer opset"
            ) from error
    model = compose.add_prefix(model, PREFIX)
    _lift_constants(model.graph)
    constants = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in constants]
    model.graph.ClearField("input")
    model.graph.input.extend(values)
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return model


def _opset(model: onnx.ModelProto) -> int:
    return next((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), _LEAST_OPSET)


def _refuse_unknown_domains(model: onnx.ModelProto) -> None:
    unknown = sorted({f"{node.domain}::{node.op_type}" for node in model.graph.node if node.domain not in _DOMAINS})
    if unknown:
        raise UserError(
            f"it has operators that onnxruntime does not have: {listed(unknown, 6)}; export it with ONNX's own"
        )


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Turn nodes that hold a tensor into initializers, as which tools look for weights and shapes."""
    nodes = []
    for node in graph.node:
        value = next((attribute for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        else:
            nodes.append(node)
    graph.ClearField("node")
    graph.node.extend(nodes)


def alone(model: onnx.ModelProto, reading: InputReading, output: str | OutputReading) -> onnx.ModelProto:
    """`frames` in, as many as the graph takes; the output of this name as it is, or `logits` where it is read."""
    if isinstance(output, str):
        return _around(model, reading, output, None)
    return _around(model, reading, output.name, output)


def free(model: onnx.ModelProto, reading: InputReading, output: OutputReading) -> onnx.ModelProto:
    """`frames` in, `logits` out, all frames at once."""
    return _around(batches.set_free(model, reading), reading, output.name, output)


def in_blocks(model: onnx.ModelProto, reading: InputReading, output: OutputReading) -> onnx.ModelProto:
    """`frames` in, `logits` out, block by block of as many frames as the graph takes."""
    writer = GraphWriter()
    tensor = inputs.write(writer, reading, "input/")
    answers = batches.write_loop(writer, model, tensor, reading, output)
    outputs.write(writer, output, answers, "output/")
    return _model(model, writer, reading, [], "logits", 1)


def _around(model: onnx.ModelProto, reading: InputReading, name: str, output: OutputReading | None) -> onnx.ModelProto:
    """A graph with our input before it and, where the output is read already, our output behind it."""
    writer = GraphWriter()
    tensor = inputs.write(writer, reading, "input/")
    before = len(writer.nodes)
    if output is not None:
        outputs.write(writer, output, name, "output/")
    behind = writer.nodes[before:]
    del writer.nodes[before:]
    nodes = []
    for node in model.graph.node:
        copied = type(node)()
        copied.CopyFrom(node)
        copied.input[:] = [tensor if side == reading.name else side for side in node.input]
        nodes.append(copied)
    kind = next(value for value in model.graph.output if value.name == name).type.tensor_type.elem_type
    writer.nodes += [*nodes, *behind]
    return _model(
        model, writer, reading, list(model.graph.initializer), "logits" if output else name, 1 if output else kind
    )


def _model(
    like: onnx.ModelProto, writer: GraphWriter, reading: InputReading, constants: Sequence[Any], output: str, kind: int
) -> onnx.ModelProto:
    """A model of the writer's nodes and constants, and of `constants`, with the operator sets of `like`."""
    from onnx import TensorProto, helper

    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, reading.size, reading.size])
    sides: list[str | int | None] | None = ["n", 2] if output == "logits" else None
    answer = helper.make_tensor_value_info(output, kind, sides)
    graph = helper.make_graph(writer.nodes, "detector", [frames], [answer], [*writer.initializers(), *constants])
    made = helper.make_model(graph, opset_imports=like.opset_import)
    made.ir_version = max(4, least_ir_version(made))
    return made
