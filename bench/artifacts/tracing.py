"""The ONNX graph of a network without its weights: traced once for every structure, however many have it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import pickle
import signal
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.records import Prediction

if TYPE_CHECKING:
    import onnx
    import torch
    from torch import Tensor, nn

    from bench.detectors.detector import Detector

# The oldest opset the exporter writes by itself; onnxruntime reads it since 1.14.
OPSET = 18
# A graph without weights takes about 200 kB; an experiment rarely has more structures than this.
_MOST_TEMPLATES = 8

_templates: OrderedDict[str, onnx.ModelProto] = OrderedDict()


def template(network: Detector) -> onnx.ModelProto:
    """The graph of a float32 network on the CPU, in evaluation mode. Its caller must not change it.

    Inputs are `frames` and every parameter and buffer that the graph reads, under the network's own names.
    What is an input can't be folded into anything, nor be taken for another of the same value: no constant
    depends on weights, and networks of one structure share the graph.
    """
    key = structure(network)
    if key is None:
        return _traced(network)
    if key not in _templates:
        _templates[key] = _traced(network)
        while len(_templates) > _MOST_TEMPLATES:
            _templates.popitem(last=False)
    _templates.move_to_end(key)
    return _templates[key]


def structure(network: Detector) -> str | None:
    """A digest of all that the network holds but its weights' values; None where it can't be pickled.

    That is every attribute of every module, what is hooked to it included, and shapes, types and identities of
    parameters and buffers. Equal digests mean equal graphs; equal networks may have different ones.
    """
    file = io.BytesIO()
    try:
        _Structure(file, network).dump(network)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError, RuntimeError):  # and too deep a recursion
        return None
    return hashlib.sha256(file.getbuffer()).hexdigest()


class _Structure(pickle.Pickler):
    """Writes a network with its parameters and buffers numbered instead of stored."""

    def __init__(self, file: io.BytesIO, network: Detector) -> None:
        super().__init__(file, protocol=4)
        # Otherwise equal texts would be written differently where they are one object and where they are two.
        self.fast = True
        state = (*network.parameters(), *network.buffers())
        self._numbers = {id(tensor): number for number, tensor in enumerate(state)}

    def persistent_id(self, obj: object) -> object:
        import torch

        if not isinstance(obj, torch.Tensor):
            return None
        number = self._numbers.get(id(obj))
        # What is neither parameter nor buffer ends up in the graph by its value.
        value = bytes(obj.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()) if number is None else b""
        return number, tuple(obj.shape), str(obj.dtype), value


def _traced(network: Detector) -> onnx.ModelProto:
    """The graph of `template`, with the outputs `logits` and, where the detector has one, `cam`."""
    with quiet(), uninterrupted():
        program = _as_it_is_or_written_out(network)
        for output, name in zip(program.model.graph.outputs, Prediction._fields, strict=False):
            output.name = name
        _weights_as_inputs(program.model.graph, dict(_named_tensors(network)))
        program.optimize()
    return program.model_proto


def _as_it_is_or_written_out(network: Detector) -> torch.onnx.ONNXProgram:
    """What PyTorch's exporter makes of a network, or of the same with its attention written out.

    Raises `UserError` where it can make nothing of either.
    """
    from torch.onnx import OnnxExporterError

    try:
        return _exported(network)
    except OnnxExporterError as error:
        failure = error
    with attention_written_out(network) as changed:
        try:
            if changed:
                return _exported(network)
        except OnnxExporterError as error:
            failure = error
    (reason, *_) = str(failure.__cause__ or failure).splitlines() or [""]
    raise UserError(
        f"PyTorch cannot export {network.architecture} to ONNX, which `quantize` and every runtime but pytorch need: "
        f"{reason}"
    ) from failure


def _exported(network: Detector) -> torch.onnx.ONNXProgram:
    """What PyTorch's exporter makes of a network; it raises `OnnxExporterError`."""
    import torch

    size = network.preprocessing.size
    # Two frames, because a batch of one would be taken for a constant.
    frames = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    program = torch.onnx.export(
        _with_plain_outputs(network), (frames,), dynamo=True, opset_version=OPSET, verbose=False, optimize=False,
        input_names=["frames"], dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
    )  # fmt: skip
    assert program is not None  # only the old exporter returns nothing
    return program


@contextlib.contextmanager
def attention_written_out(network: nn.Module) -> Iterator[bool]:
    """Have timm's attentions computed as products and a softmax, instead of by PyTorch's fused operator.

    The exporter knows that operator with four axes and simple masks alone: not that of Hiera, BEiT or relative
    positions. Yields whether anything changed.
    """
    attentions: list[Any] = [module for module in network.modules() if getattr(module, "fused_attn", False)]
    for attention in attentions:
        attention.fused_attn = False
    try:
        yield bool(attentions)
    finally:
        for attention in attentions:
            attention.fused_attn = True


def _with_plain_outputs(network: Detector) -> nn.Module:
    """The network, called `network`, within a module that gives a tuple of tensors: exporters know no other records."""
    from torch import nn

    class PlainOutputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
            return tuple(tensor for tensor in self.network(frames) if tensor is not None)

    return PlainOutputs().eval()


def _named_tensors(network: Detector) -> Iterator[tuple[str, Tensor]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def tensors(network: Detector) -> dict[str, Tensor]:
    """What the inputs of a `template` stand for, by name: parameters and buffers, detached."""
    return {name: tensor.detach() for name, tensor in _named_tensors(network)}


def _weights_as_inputs(graph: Any, state: dict[str, Tensor]) -> None:
    """Make inputs of the initialisers that are the network's, under its own names."""
    for name in list(graph.initializers):
        inner = name.removeprefix("network.")
        if inner in state:
            value = graph.initializers.pop(name)
            value.const_value = None
            value.name = inner
            graph.inputs.append(value)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's prints, log records and warnings from the terminal; exceptions still pass."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end; who presses Ctrl-C again does not wait.

    An exception that comes up within torch's tracing can make it abort the whole process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread only
        return
    waiting: list[int] = []
    usual: dict[int, Any] = {}

    def hold(number: int, _: object) -> None:
        waiting.append(number)
        signal.signal(number, usual[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        usual[number] = signal.signal(number, hold)
    try:
        yield
    finally:
        for held, handler in usual.items():
            signal.signal(held, handler)
        if waiting:
            signal.raise_signal(waiting[0])
