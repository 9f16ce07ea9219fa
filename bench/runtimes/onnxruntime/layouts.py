"""Writing a graph whose tensors lie channels-first, channels-last or in both layouts, turned where both meet."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.artifacts.onnx_graph import GraphWriter, producers, readers, shapes

if TYPE_CHECKING:
    import onnx


class LayoutWriter(GraphWriter):
    """Writes a graph anew, from the nodes of another one.

    `first` and `last` hold the names that a tensor of the other graph has channels-first and channels-last.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Take in the other graph: its constants, shapes, and which node writes and which nodes read a tensor."""
        super().__init__(model.graph.initializer)
        self.graph = graph = model.graph
        self.readers = readers(graph)
        self.uses = Counter(output.name for output in graph.output)
        for node in graph.node:
            self.uses.update(node.input)
        self.producer = producers(graph)
        self.shapes = shapes(graph)
        self.first: dict[str, str] = {value.name: value.name for value in graph.input}
        self.last: dict[str, str] = {}
        self.names = {node.name for node in graph.node}

    def numbered(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Append a node that is called after its kind and its position; by more where the graph has that name."""
        name = f"{kind}_{len(self.nodes)}"
        return self.node(kind, inputs, output, f"{name}/{output}" if name in self.names else name, domain, **attributes)

    def channels_first(self, name: str) -> str:
        """The name of a tensor channels-first, transposed if it is not so yet; constants stay as they are."""
        if name in self.constants or not name:
            return name
        if name not in self.first:
            # Outputs of the graph keep their names.
            self.first[name] = self.numbered("Transpose", [self.last[name]], name, perm=[0, 3, 1, 2])
        return self.first[name]

    def channels_last(self, name: str) -> str:
        """The name of a tensor or constant channels-last, transposed if it is not so yet."""
        if not name:
            return name
        if name in self.constants:
            return self._constant_last(name)
        if name not in self.last:
            self.last[name] = self.numbered("Transpose", [self.first[name]], f"{name}/last", perm=[0, 2, 3, 1])
        return self.last[name]

    def _constant_last(self, name: str) -> str:
        array = self.constants[name]
        if array.ndim < 2:
            return name
        axes = (1, 2, 0) if array.ndim == 3 else (0, 2, 3, 1)
        return self.constant(f"{name}/last", array.transpose(axes))

    def is_turned_already(self, transpose: onnx.NodeProto) -> bool:
        """Whether a transposition is one between both layouts, of which no copy is needed: then names are enough."""
        read, written = transpose.input[0], transpose.output[0]
        perm = next((list(attribute.ints) for attribute in transpose.attribute if attribute.name == "perm"), [])
        if perm == [0, 2, 3, 1] and read in self.last:
            self.first[written] = self.last[read]
        elif perm == [0, 3, 1, 2] and read in self.first:
            self.last[written] = self.first[read]
        else:
            return False
        return True

    def unchanged(self, node: onnx.NodeProto) -> None:
        """Write a copy that reads and writes channels-first."""
        copied = copy.deepcopy(node)
        copied.input[:] = [self.channels_first(name) for name in node.input]
        self.nodes.append(copied)
        self.first.update((name, name) for name in node.output)

    def elementwise(self, node: onnx.NodeProto) -> None:
        """Write a copy that reads and writes channels-last."""
        copied = copy.deepcopy(node)
        copied.input[:] = [self.channels_last(name) for name in node.input]
        copied.output[:] = [f"{name}/last" for name in node.output]
        self.nodes.append(copied)
        self.last[node.output[0]] = copied.output[0]
