"""What a training needs to go on: tensors as safetensors, all else as JSON. Nothing in either is ever executed.

The JSON file names the file of tensors that belongs to it, and is renamed into its place last: whenever the process is
killed, it names a whole file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bench import stored
from bench.errors import UserError, on_one_line
from bench.files import make_folder, remove, sweep, write_atomically
from bench.provenance import write_json

if TYPE_CHECKING:
    from torch import Tensor

Rest: TypeAlias = dict[str, Any]

_STATE = "state.json"
_LAYOUT = 1
_TENSORS = "tensors"


def save(folder: Path, tensors: Mapping[str, Tensor], rest: Rest, name: str) -> None:
    """Save a state in `folder`; `name` is another one for every state. Those from before are removed."""
    make_folder(folder)
    file = f"state-{name}.safetensors"
    write_tensors(folder / file, tensors)
    write_json(folder / _STATE, {"layout": _LAYOUT, _TENSORS: file, **rest})
    for old in folder.glob("state-*.safetensors"):
        if old.name != file:
            remove(old)


def load(folder: Path) -> tuple[dict[str, Tensor], Rest] | None:
    """What was saved last; None where nothing was. `UserError` where it can't be read: it is never written over."""
    from safetensors.torch import load_file

    if not folder.is_dir():
        return None
    sweep(folder, held=True)
    rest = saved(folder)
    if rest is None:
        return None
    file = folder / Path(str(rest[_TENSORS])).name
    try:
        return load_file(file), rest
    except MemoryError:
        raise
    except Exception as error:  # a damaged file fails in more ways than safetensors documents
        raise UserError(f"{file}: {why_unreadable(error)}") from error


def saved(folder: Path) -> Rest | None:
    """What was saved last but for its tensors; None where nothing was. `UserError` where it can't be read."""
    file = folder / _STATE
    try:
        rest: Rest = stored.read_json(file)
        if rest["layout"] != _LAYOUT or not isinstance(rest["progress"]["step"], int):
            raise ValueError("it is laid out otherwise")
        return rest if rest[_TENSORS] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file}: {why_unreadable(error)}") from error


def why_unreadable(error: Exception) -> str:
    """Why a saved state can't be read, and what to do."""
    return (
        f"the state of this training can't be read ({on_one_line(str(error) or type(error).__name__)[:200]}); "
        "put the file right and start again, or `bench train` with --again trains anew, in another folder"
    )


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all."""
    from safetensors.torch import save as as_bytes

    # A tensor that shares its numbers with another one, or lies apart, is refused otherwise.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data = as_bytes(plain, metadata=dict(metadata or {}))
    write_atomically(path, lambda file: file.write(data))


def flattened(optimizer: Mapping[str, Any]) -> tuple[dict[str, Tensor], Rest]:
    """An optimizer's state dict as tensors by name, and what is none."""
    import torch

    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, state in optimizer["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                numbers.setdefault(str(index), {})[key] = value
    return tensors, {"groups": optimizer["param_groups"], "numbers": numbers}


def unflattened(tensors: Mapping[str, Tensor], rest: Rest) -> dict[str, Any]:
    """The state dict that `flattened` took apart."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    for index, numbers in rest["numbers"].items():
        state.setdefault(int(index), {}).update(numbers)
    return {"state": state, "param_groups": rest["groups"]}


def behind(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin so, without that."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def before(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All with this before their names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
