"""A built variant on disk: one self-contained file, `model.safetensors` or `model.onnx`, never a pickle.

A safetensors artifact carries in its metadata all that is needed to build its network again:
architecture, padding flavour, preprocessing, and the widths of every module that pruning resized.
Equal models give equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.detectors import families
from bench.detectors.weights import safetensors_header
from bench.errors import UserError
from bench.files import write_atomically
from bench.records import Preprocessing, as_inputs
from bench.stored import DamagedError, adapter, open_file

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from bench.detectors.detector import Detector

FORMAT = "bench-1"
TORCH_FILE, ONNX_FILE = "model.safetensors", "model.onnx"
# How often a batch norm was called in training: integers that evaluation never reads.
_COUNTER = "num_batches_tracked"


def save(model: Detector | onnx.ModelProto, folder: Path) -> Path:
    """Write `model` into `folder` as `model.safetensors` or `model.onnx`, and return the file's path."""
    from bench.detectors.detector import Detector

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Detector):
        return _written(folder / TORCH_FILE, _torch_bytes(model))
    return _written(folder / ONNX_FILE, model.SerializeToString(deterministic=True))


def load(path: Path) -> Detector | onnx.ModelProto:
    """What was saved to `path`. Raises `UserError` where the file is missing, damaged or foreign."""
    if path.suffix != ".onnx":
        return load_torch(path)
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except DecodeError as error:
        raise _foreign(path, str(error)) from error


def load_torch(path: Path) -> Detector:
    """The detector that was saved to `path`, on the CPU, in its stored dtype and in evaluation mode.

    Raises `UserError` where the file is missing, damaged, or not written by `save`.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from bench.detectors.preprocessing import Preprocess

    metadata = _read_metadata(path)
    try:
        tensors = load_file(path)
        # Without storage the network is built in a tenth of a second; the file brings the storage.
        with torch.device("meta"):
            detector = _blank(metadata)
        detector.preprocess = Preprocess(detector.preprocessing)
        for name, widths in json.loads(metadata["resized"]).items():
            _resize(detector.get_submodule(name), *widths)
        counters = {name: torch.tensor(0) for name in detector.state_dict() if name.endswith(_COUNTER)}
        again = {name: tensors[first] for name, first in _names_again(detector).items()}
        detector.load_state_dict(tensors | again | counters, strict=True, assign=True)
        _fill_constants(detector, metadata)
    except (UserError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise _foreign(path, f"{type(error).__name__}: {error}") from error
    return detector.eval()


def metadata(path: Path) -> dict[str, str]:
    """What an artifact of either kind says of itself; both have `architecture` and `preprocessing` (JSON).

    Raises `UserError` where it is missing, damaged or foreign.
    """
    if path.suffix != ".onnx":
        return _read_metadata(path)
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except FileNotFoundError:
        raise _missing(path) from None
    except DecodeError as error:
        raise _foreign(path, str(error)) from error
    return {prop.key: prop.value for prop in model.metadata_props}


def _read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors artifact says of itself, from its first bytes alone; torch is not needed.

    Keys: `format`, `architecture`, `flavour`, `preprocessing` (JSON), `dtype`, `resized` (JSON:
    module name to [in, out, groups], of attention to [heads, heads, 1]).
    """
    try:
        with open_file(path) as file:
            metadata = safetensors_header.read(file).metadata
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise _foreign(path, str(error)) from error
    except DamagedError as error:
        raise _foreign(path, f"its header cannot be read: {error}") from error
    if metadata.get("format") != FORMAT:
        raise _foreign(path, f"format {metadata.get('format')!r}, not {FORMAT!r}")
    return metadata


def kind(model: Any) -> Literal["torch", "onnx"]:
    """Which of the two sorts of model this is."""
    from bench.detectors.detector import Detector

    return "torch" if isinstance(model, Detector) else "onnx"


def stored_dtype(model: Detector | onnx.ModelProto) -> str:
    """The type that the network's weights are kept in: "fp32", "fp16", "bf16", or as an ONNX file says of itself."""
    import torch

    from bench.detectors.detector import Detector

    if not isinstance(model, Detector):
        return next((prop.value for prop in model.metadata_props if prop.key == "stored"), "fp32")
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[model.dtype]


# ---------------------------------------------------------------------------------------- writing
def _torch_bytes(detector: Detector) -> bytes:
    """A safetensors file of the detector's tensors, counters of batches left out, with the metadata of `FORMAT`.

    What layers share is stored once, under its first name.
    """
    from safetensors.torch import save as serialize

    left_out = _names_again(detector)
    state = {
        name: tensor
        for name, tensor in detector.state_dict().items()
        if not name.endswith(_COUNTER) and name not in left_out
    }
    data = serialize({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    metadata = {
        "format": FORMAT,
        "architecture": detector.architecture,
        "flavour": detector.flavour,
        "preprocessing": json.dumps(as_inputs(detector.preprocessing)),
        "dtype": stored_dtype(detector),
        "resized": json.dumps(_resized(detector)),
    }
    return _with_metadata(data, metadata)


def _names_again(detector: Detector) -> dict[str, str]:
    """Further names of the tensors of layers that are there under several: the first name of each."""
    first: dict[int, str] = {}
    again: dict[str, str] = {}
    for path, module in detector.named_modules(remove_duplicate=False):
        earlier = first.setdefault(id(module), path)
        tensors = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        again |= {f"{path}.{name}": f"{earlier}.{name}" for name, _ in tensors if path != earlier}
    return again


def _with_metadata(data: bytes, metadata: dict[str, str]) -> bytes:
    """Put metadata into a safetensors file. The library itself would write it in random order."""
    length = int.from_bytes(data[:8], "little")
    header = {"__metadata__": metadata, **json.loads(data[8 : 8 + length])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _written(path: Path, data: bytes) -> Path:
    write_atomically(path, lambda file: file.write(data))
    return path


# --------------------------------------------------------------------------------------- resizing
def _resized(detector: Detector) -> dict[str, list[int]]:
    """The modules whose widths differ from the architecture's: name to what `_widths` says."""
    import torch

    with torch.device("meta"):
        original = families.find(detector.architecture).build(
            detector.architecture, detector.flavour, detector.preprocessing
        )
    before = {name: _widths(module) for name, module in original.named_modules()}
    now = {name: _widths(module) for name, module in detector.named_modules()}
    return {name: widths for name, widths in now.items() if widths is not None and widths != before[name]}


def _widths(module: nn.Module) -> list[int] | None:
    """A module's [in, out, groups], an attention's [heads, heads, 1]; None of what has neither."""
    from torch import nn

    from bench.detectors.networks.attention import heads_of

    if isinstance(module, nn.Conv2d):
        return [module.in_channels, module.out_channels, module.groups]
    if isinstance(module, nn.Linear):
        return [module.in_features, module.out_features, 1]
    if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return [module.num_features, module.num_features, 1]
    heads = heads_of(module)
    return [heads, heads, 1] if heads else None


def _resize(module: nn.Module, inputs: int, outputs: int, groups: int) -> None:
    """Give a module without storage other widths."""
    import torch
    from torch import nn

    from bench.detectors.networks.attention import heads_of, set_heads

    if heads_of(module):
        set_heads(module, outputs)
        return
    if isinstance(module, nn.Conv2d):
        module.in_channels, module.out_channels, module.groups = inputs, outputs, groups
        shape: tuple[int, ...] = (outputs, inputs // groups, *module.kernel_size)
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = inputs, outputs
        shape = (outputs, inputs)
    elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
        module.num_features = outputs
        module.running_mean = module.running_var = torch.empty(outputs, device="meta")
        shape = (outputs,)
    else:
        raise ValueError(f"a {type(module).__name__} cannot be resized")
    module.weight = nn.Parameter(torch.empty(shape, device="meta"))
    if module.bias is not None:
        module.bias = nn.Parameter(torch.empty(outputs, device="meta"))


def _fill_constants(detector: Detector, metadata: Mapping[str, str]) -> None:
    """Give buffers that no file holds, since they follow from the architecture, what it computes for them; in place."""
    import torch

    without = [name for name, buffer in detector.named_buffers() if buffer.is_meta]
    if not without:
        return
    with torch.random.fork_rng(devices=[]):
        computed = dict(_blank(metadata).named_buffers())
    for name in without:
        owner, _, leaf = name.rpartition(".")
        dtype = detector.dtype if computed[name].is_floating_point() else None
        setattr(detector.get_submodule(owner), leaf, computed[name].to(dtype=dtype))


def _blank(metadata: Mapping[str, str]) -> Detector:
    preprocessing = adapter(Preprocessing).validate_json(metadata["preprocessing"])
    architecture = metadata["architecture"]
    return families.find(architecture).build(architecture, metadata["flavour"], preprocessing)


def _missing(path: Path) -> UserError:
    return UserError(f"{path}: no such file; expected a saved variant; build the variant again")


def _foreign(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: not a usable variant ({reason}); expected a file written by this program; "
        "delete its folder and build the variant again"
    )
