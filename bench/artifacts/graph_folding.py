"""A graph without weights and the weights that go into it: constants worked out, batch norms folded away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Constants: TypeAlias = dict[str, NDArray[Any]]


def filled(template: onnx.ModelProto, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """A copy of `template` whose inputs named in `weights` are constants.

    What depends on constants alone is computed here, and a batch norm that alone reads a convolution goes into
    that convolution's weights. Shapes are not checked: a template belongs to one structure.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(template)
    graph = model.graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    for value in graph.input:
        if value.name in weights:
            constants[value.name] = weights[value.name]
    outputs = {value.name for value in graph.output}
    nodes = _without_constant_arithmetic(list(graph.node), constants, outputs, model.opset_import)
    nodes = _without_norms(nodes, constants, outputs)
    inputs = [value for value in graph.input if value.name not in weights]
    for part, values in (("input", inputs), ("node", nodes)):
        graph.ClearField(part)
        getattr(graph, part).extend(values)
    graph.ClearField("initializer")
    # In the order of their first use.
    for name in dict.fromkeys(name for node in graph.node for name in node.input if name in constants):
        graph.initializer.append(numpy_helper.from_array(constants[name], name))
    return model


def _without_constant_arithmetic(
    nodes: Sequence[onnx.NodeProto], constants: Constants, outputs: set[str], opsets: Sequence[onnx.OperatorSetIdProto]
) -> list[onnx.NodeProto]:
    """The nodes that depend on frames; what the others compute is added to `constants`."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    fixed, others, constant_names = [], [], {*constants, ""}
    for node in nodes:
        if node.input and constant_names.issuperset(node.input) and outputs.isdisjoint(node.output):
            fixed.append(node)
            constant_names.update(node.output)
        else:
            others.append(node)
    made = {name for node in fixed for name in node.output}
    needed = [name for name in dict.fromkeys(name for node in others for name in node.input) if name in made]
    if needed:
        read = dict.fromkeys(name for node in fixed for name in node.input if name in constants)
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(constants[name].dtype), None)
            for name in read
        ]
        results = [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in needed]
        arithmetic = helper.make_model(helper.make_graph(fixed, "constants", inputs, results), opset_imports=opsets)
        values: Any = ReferenceEvaluator(arithmetic).run(needed, {name: constants[name] for name in read})
        constants.update(zip(needed, values, strict=True))
        _name_transposed(fixed, others, constants)
        _name_standardised(fixed, others, constants)
    return others


def _name_transposed(fixed: Sequence[onnx.NodeProto], others: Sequence[onnx.NodeProto], constants: Constants) -> None:
    """Give the turned weights of a linear layer, which a MatMul reads, the weights' own name: it tells of the module.

    Those that are read as they are too, keep it.
    """
    read = Counter(name for node in others for name in node.input)
    turned = {node.output[0]: node.input[0] for node in fixed if node.op_type == "Transpose"}
    for node in others:
        if node.op_type != "MatMul" or (weight := turned.get(node.input[1])) is None:
            continue
        if read[node.input[1]] == 1 and not read[weight] and weight.endswith(".weight"):
            constants[weight] = constants.pop(node.input[1])
            node.input[1] = weight


def _name_standardised(fixed: Sequence[onnx.NodeProto], others: Sequence[onnx.NodeProto], constants: Constants) -> None:
    """Give what a convolution reads in the place of its weights, such as those weights standardised, their name too.

    That is where it was computed of one `….weight` alone, has its shape, and nothing else reads either of the two.
    """
    read = Counter(name for node in others for name in node.input)
    producers = {output: node for node in fixed for output in node.output}
    for node in others:
        if node.op_type != "Conv" or node.input[1] not in producers or read[node.input[1]] != 1:
            continue
        weights = [name for name in _sources(node.input[1], producers) if name.endswith(".weight")]
        if len(weights) != 1 or read[weights[0]] or constants[weights[0]].shape != constants[node.input[1]].shape:
            continue
        constants[weights[0]] = constants.pop(node.input[1])
        node.input[1] = weights[0]


def _sources(tensor: str, producers: Mapping[str, onnx.NodeProto]) -> set[str]:
    """What a tensor is computed of that no node computes."""
    waiting, seen, sources = [tensor], {tensor}, set[str]()
    while waiting:
        name = waiting.pop()
        if name not in producers:
            sources.add(name)
            continue
        waiting += [other for other in producers[name].input if other not in seen]
        seen.update(producers[name].input)
    return sources


def _without_norms(nodes: Sequence[onnx.NodeProto], constants: Constants, outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes without the batch norms that could be folded; folded weights are added to `constants`."""
    readers = Counter(name for node in nodes for name in node.input) + Counter(outputs)
    convolutions = {node.output[0]: node for node in nodes if node.op_type == "Conv"}
    left = []
    for node in nodes:
        convolution = convolutions.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if (
            convolution is not None
            and readers[node.input[0]] == 1
            and constants.keys() >= {*convolution.input[1:], *node.input[1:]}
        ):
            _fold(convolution, node, constants, readers)
        else:
            left.append(node)
    return left


def _fold(convolution: onnx.NodeProto, norm: onnx.NodeProto, constants: Constants, readers: Mapping[str, int]) -> None:
    """Let the convolution write what the norm made of it: gamma (y - mean) / sqrt(var + eps) + beta."""
    import numpy as np

    gamma, beta, mean, variance = (constants[name].astype(np.float64) for name in norm.input[1:])
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
    with np.errstate(invalid="ignore", divide="ignore"):  # what is no number is seen in the logits
        scale = gamma / np.sqrt(variance + epsilon)
    weight, *bias = (constants[name] for name in convolution.input[1:])
    shift = beta + scale * ((bias[0] if bias else 0.0) - mean)
    # The name tells of which module the convolution is; where several use the weight, each gets its own copy.
    name, output = convolution.input[1], norm.output[0]
    name = name if readers[name] == 1 else f"{name}/{output}"
    constants[name] = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
    constants[f"{output}/bias"] = shift.astype(weight.dtype)
    convolution.input[:] = [convolution.input[0], name, f"{output}/bias"]
    convolution.output[0] = output
