"""Weights files that are wrong, each made by a function of the folder it lies in: for bad_input_cases.py."""

from __future__ import annotations

import argparse
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support import huggingface, tiny

FILE = "best_model.tar"


def flipped_number(folder: Path) -> None:
    """One bit of a number in the middle of the file."""
    data = bytearray((folder / FILE).read_bytes())
    data[len(data) // 2] ^= 4
    (folder / FILE).write_bytes(data)


def _saved(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / FILE, weights_only=True)["model"]
    return state


def with_number(number: float, dtype: torch.dtype = torch.float32) -> Callable[[Path], None]:
    """A checkpoint with this number in the bias of its head."""

    def change(folder: Path) -> None:
        state = _saved(folder)
        state["head.bias"] = torch.full((2,), number, dtype=dtype)
        torch.save({"model": state}, folder / FILE)

    return change


def with_head(rows: int) -> Callable[[Path], None]:
    """A checkpoint whose head gives this many logits."""

    def change(folder: Path) -> None:
        state = _saved(folder)
        state |= {"head.weight": torch.zeros(rows, 64), "head.bias": torch.zeros(rows)}
        torch.save({"model": state}, folder / FILE)

    return change


def of_transformers(folder: Path) -> None:
    """A ViT-Ti for 32 px as transformers names it, with its labels beside it."""
    torch.save(huggingface.weights(huggingface.vit_shapes(192, 12, positions=4)), folder / FILE)
    (folder / "config.json").write_text(json.dumps({"id2label": {"0": "Fake", "1": "Real"}}), encoding="utf-8")


def swin_of_transformers(folder: Path) -> None:
    """What tells its names."""
    torch.save({"swin.encoder.layers.0.blocks.0.attention.self.query.weight": torch.zeros(2, 2)}, folder / FILE)


def two_sets(folder: Path) -> None:
    """Plain weights beside their moving average, as timm saves them."""
    state = _saved(folder)
    averaged = {name: tensor.clone() for name, tensor in state.items()}
    torch.save({"state_dict": state, "state_dict_ema": averaged}, folder / FILE)


def average_of_parameters(folder: Path) -> None:
    """Whole weights beside an average that has no statistics of batch norms."""
    state = _saved(folder)
    averaged = {name: tensor for name, tensor in state.items() if "running" not in name}
    torch.save({"model": state, "ema": {name: tensor.clone() for name, tensor in averaged.items()}}, folder / FILE)


def negative_variances(folder: Path) -> None:
    """Batch norms whose variances are below 0."""
    state = _saved(folder)
    negative = {name: -1 - tensor for name, tensor in state.items() if name.endswith("running_var")}
    torch.save({"model": state | negative}, folder / FILE)


def masked(folder: Path) -> None:
    """As torch.nn.utils.prune leaves a layer: its weights, and a mask beside them."""
    state = _saved(folder)
    name = next(name for name, tensor in state.items() if tensor.ndim == 4)
    weight = state.pop(name)
    state |= {f"{name}_orig": weight, f"{name}_mask": torch.ones_like(weight)}
    torch.save({"model": state}, folder / FILE)


def packed(folder: Path) -> None:
    """A zip archive with a checkpoint in it."""
    with zipfile.ZipFile(folder / "download", "w") as archive:
        archive.write(folder / FILE, FILE)
    (folder / "download").replace(folder / FILE)


def two_heads(folder: Path) -> None:
    """The same layers twice, with another head each."""
    state = _saved(folder)
    torch.save({"a": state, "b": state | {"head.weight": torch.zeros(2, 64)}}, folder / FILE)


def hidden_layer(folder: Path) -> None:
    """A head of two layers."""
    state = _saved(folder)
    weight, bias = state.pop("head.weight"), state.pop("head.bias")
    state |= {"head.0.weight": torch.zeros(64, 64), "head.0.bias": torch.zeros(64)}
    torch.save({"model": state | {"head.2.weight": weight, "head.2.bias": bias}}, folder / FILE)


def quantised_by_hand(folder: Path) -> None:
    """Weights as int8, without the scales that would give them a meaning."""
    state = _saved(folder)
    ints = {name: (tensor * 9).to(torch.int8) if tensor.ndim == 4 else tensor for name, tensor in state.items()}
    torch.save(ints, folder / FILE)


def tied_without_end(folder: Path) -> None:
    """300 tensors, each as long as a file of this size may have one."""
    torch.save({f"a{i}": torch.zeros(1).half().expand(250_000) for i in range(300)}, folder / FILE)


def within_itself(folder: Path) -> None:
    state: dict[str, Any] = {"epoch": 3}
    state["model"] = state
    torch.save(state, folder / FILE)


def quantised(folder: Path) -> None:
    scales, zeros = torch.ones(2), torch.zeros(2, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this is deprecated
        tensor = torch.quantize_per_channel(torch.zeros(2, 2), scales, zeros, 0, torch.qint8)
        torch.save({"a": tensor}, folder / FILE)


def shorter_than_said(folder: Path) -> None:
    """A tensor of two numbers in a storage of 2**40, of which the file has two."""
    torch.save(_saved(folder), folder / FILE, _use_new_zipfile_serialization=False)
    data = (folder / FILE).read_bytes()
    assert data.count(b"K\x02N") == 1
    (folder / FILE).write_bytes(data.replace(b"K\x02N", b"\x8a\x06" + (2**40).to_bytes(6, "little") + b"N"))


def safetensors_header(text: str, behind: int = 8) -> Callable[[Path], None]:
    """A safetensors file with this header, and as many bytes behind it."""

    def change(folder: Path) -> None:
        data = text.encode()
        (folder / "best_model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data + bytes(behind))

    return change


def entry(begin: Any, end: Any, shape: Any = (1,)) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


OVERLAPPING = json.dumps({"a": entry(0, 8, [2]), "b": entry(4, 8)})
INFINITE = json.dumps({"a": entry("…", 8, [2])}).replace(json.dumps("…"), "1e999")


def with_settings_beside(folder: Path) -> None:
    """What timm's and other training scripts keep with the weights; and no sums, as PyTorch can be told."""
    beside = {"args": argparse.Namespace(lr=0.1), "best_auc": np.float64(0.93), "random": np.random.get_state()}
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"model": tiny.lively(_tiny()).state_dict(), **beside}, folder / FILE)
    finally:
        torch.serialization.set_crc32_options(True)


def _tiny() -> Any:
    torch.manual_seed(0)
    return tiny.build("tiny", "tiny", tiny.PREPROCESSING)
