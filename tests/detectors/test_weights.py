"""Reading what torch.save wrote: the same tensors as torch.load, without running any of it."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.detectors.weights import pickled, stored_tensors, torch_file
from bench.errors import UserError, shown
from tests.support.weights import all_tensors

FORMATS: dict[str, dict[str, Any]] = {
    "zip": {},
    "legacy": {"_use_new_zipfile_serialization": False},
    "protocol 4": {"pickle_protocol": 4},
    "legacy protocol 5": {"pickle_protocol": 5, "_use_new_zipfile_serialization": False},
}


def everything() -> dict[str, Any]:
    """Tensors of all plain dtypes and in all ways of lying in a storage, and what comes with them."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    noted, parameter = torch.randn(3), nn.Parameter(torch.randn(3))
    noted.note = parameter.note = "kept beside"  # type: ignore[attr-defined]
    views = {"permuted": base.permute(2, 0, 1), "part": base[1, :, 1:3], "expanded": base[:1].expand(2, 3, 4)}
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int8, torch.int16, torch.int32)
    as_dtypes = {str(dtype): base.to(dtype) for dtype in (*dtypes, torch.int64, torch.bool)}
    lasting = {"channels": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), "number": torch.tensor(3.5)}
    classes = {"parameter": parameter, "noted": noted, "tied": nn.Parameter(base), "buffer": nn.Buffer(base)}
    return {"base": base, "empty": torch.zeros(0, 4), **views, **as_dtypes, **lasting, **classes}


@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
def test_the_same_tensors_as_torch_load(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": everything(), "epoch": 3, "losses": [0.5, 0.25]}, path, **options)
    loaded, read = torch.load(path, weights_only=False)["state_dict"], all_tensors(path)
    assert list(read) == [f"state_dict.{name}" for name in loaded]
    for name, tensor in loaded.items():
        expected = tensor.float() if tensor.is_floating_point() else tensor
        assert read[f"state_dict.{name}"].dtype == expected.dtype, name
        assert read[f"state_dict.{name}"].equal(expected.detach()), name


def test_beside_an_optimizer(tmp_path: Path) -> None:
    """Its state is there under names of its own."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "w.tar")
    read = all_tensors(tmp_path / "w.tar")
    assert all(read[f"model.{name}"].equal(tensor) for name, tensor in network.state_dict().items())
    assert read["optimizer.state.0.exp_avg"].shape == network[0].weight.shape


def test_most_significant_byte_first(tmp_path: Path) -> None:
    """As PyTorch writes on IBM's mainframes."""
    torch.save({"a": torch.arange(5.0), "b": torch.arange(3)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as archive, zipfile.ZipFile(tmp_path / "big.pth", "w") as other:
        for member in archive.infolist():
            data = archive.read(member)
            if member.filename.endswith("/byteorder"):
                data = b"big"
            elif size := {"w/data/0": 4, "w/data/1": 8}.get(member.filename):
                data = b"".join(data[i : i + size][::-1] for i in range(0, len(data), size))
            other.writestr(member.filename, data)
    read = all_tensors(tmp_path / "big.pth")
    assert read["a"].tolist() == [0, 1, 2, 3, 4]
    assert read["b"].tolist() == [0, 1, 2]


def test_every_flipped_bit_in_numbers_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    tensors = {"w/data/0": torch.arange(1.0, 9.0), "w/data/1": torch.arange(9.0, 17.0)}
    torch.save(list(tensors.values()), path)
    whole = path.read_bytes()
    for name, tensor in tensors.items():
        start = whole.index(tensor.numpy().tobytes())
        for bit in range(0, 256, 5):
            data = bytearray(whole)
            data[start + bit // 8] ^= 1 << bit % 8
            (tmp_path / "flipped.pth").write_bytes(data)
            with pytest.raises(UserError, match=f"of its part {name} is not the one stored"):
                all_tensors(tmp_path / "flipped.pth")


def test_tied_weights_share_their_memory(tmp_path: Path) -> None:
    """200 names for one tensor are no claim to 200 times the memory."""
    tied = torch.randn(64, 64, 64).half()
    torch.save({f"a{i}": tied for i in range(200)}, tmp_path / "w.pth")
    read = all_tensors(tmp_path / "w.pth")
    assert len({tensor.data_ptr() for tensor in read.values()}) == 1


class _Marker:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_is_run(tmp_path: Path) -> None:
    for options in FORMATS.values():
        torch.save(
            {"model": {"a": torch.zeros(2)}, "code": _Marker(tmp_path / "marker")}, tmp_path / "w.pth", **options
        )
        with pytest.raises(UserError, match=r"would execute code: the file asks for \w+\.mkdir"):
            all_tensors(tmp_path / "w.pth")
    assert not (tmp_path / "marker").exists()


def test_what_training_scripts_keep_beside_weights_is_left_aside(tmp_path: Path) -> None:
    """Settings, random numbers, losses and optimizers as objects: none of it is made, nor asked for."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    beside = {
        "args": argparse.Namespace(lr=0.1), "settings": types.SimpleNamespace(lr=0.1), "auc": np.float32(0.9),
        "counts": np.eye(2), "random": [np.random.get_state(), random.getstate(), random.Random(3)],
        "generators": [np.random.default_rng(0), np.random.RandomState(0)],
        "criterion": nn.CrossEntropyLoss(), "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 3),
    }  # fmt: skip
    for options in FORMATS.values():
        torch.save({"model": {"a": torch.ones(2)}, **beside}, tmp_path / "w.pth", **options)
        assert all_tensors(tmp_path / "w.pth")["model.a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("name", "harmless"),
    [
        ("easydict.EasyDict", True), ("yacs.config.CfgNode", True), ("omegaconf.dictconfig.DictConfig", True),
        ("lightning.fabric.utilities.data.AttributeDict", True), ("numpy.random._pickle.__generator_ctor", True),
        ("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", True),
        ("decimal.Decimal", True), ("uuid.UUID", True), ("datetime.time", True), ("fractions.Fraction", True),
        ("attrdict.dictionary.AttrDict", True), ("mmcv.utils.config.ConfigDict", True), ("optparse.Values", True),
        ("datetime.os.system", False), ("uuid.getnode", False), ("mmcv.utils.config.Config.fromfile", False),
        ("torch.optim.lr_scheduler.StepLR", True), ("torch.nn.modules.container.Sequential", False),
        ("easydict.os.system", False), ("builtins.getattr", False), ("types.FunctionType", False),
        ("omegaconf.dictconfig.os.system", False), ("numpy.random.os.system", False), ("__main__.Config", False),
    ],
)  # fmt: skip
def test_names_that_stand_for_data(name: str, harmless: bool) -> None:
    assert stored_tensors.harmless(name) is harmless


def _numpy_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(2))


def _exported(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/archive_format", "pt2")
        archive.writestr("w/data/sample_inputs/model.pt", "x")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "model.safetensors").write_bytes(b"x")
    (path / "config.json").write_bytes(b"x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Entry not found", "it is text that begins with 'Entry not found'"),
        (b'{"error": "no\nsuch"}', "it is text that begins with"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html>", "it is a web page"),
        (b"<!-- saved --><head>", "it is a web page"),
        (b'<?xml version="1.0"?><Error>', "it is XML, probably a server's answer"),
        (("wort " * 200).encode() + b"\xc3\xa4", "it is text that begins with 'wort wort"),
        (b"BZh91AY", "bzip2-compressed; unpack it"),
        (b"\xfd7zXZ\0", "xz-compressed; unpack it"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed; unpack it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
        (b"Rar!\x1a\x07\0", "a RAR archive; unpack it"),
        (b"\x1c\0\0\0TFL3", "a TensorFlow Lite file"),
        (b"\x08\x01\x12\x90\x02\x0a", "a graph of TensorFlow"),
        (b"\x08\x07\x12\x07pytorch", "it is an ONNX file"),
        (bytes(range(1, 32)), "not a PyTorch checkpoint; expected"),
        (_numpy_arrays, "an archive of NumPy arrays; save them as tensors"),
        (_exported, "a graph that torch.export saved, not the weights alone"),
        (_folder, "is a folder; name the file inside: model.safetensors; expected"),
        (lambda path: torch.save({"a": np.zeros(2)}, path), "holds NumPy arrays in the place of tensors"),
        (lambda path: torch.save({}, path), "found: an empty dictionary"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(
    content: bytes | Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(UserError) as caught:
        all_tensors(path)
    assert message in str(caught.value)


def test_a_pickle_is_data() -> None:
    """A class is a name, a call is a note of it, and keys that are no text keep their spelling alone."""
    value = {"a": [1, (2.5, None, True)], 3: b"x", ("t",): {"b"}, "long": 10**30}
    tree = pickled.read(io.BytesIO(pickle.dumps(value)), lambda name: False)
    assert list(map(str, tree)) == ["a", "3", "a tuple", "long"]
    assert tree["a"] == [1, (2.5, None, True)]
    assert tree["long"] == 10**30
    asked = pickled.read(io.BytesIO(pickle.dumps(Path("x"))), lambda name: name.startswith("pathlib."))
    assert isinstance(asked, pickled.Call)
    assert asked.callee.text.startswith("pathlib.")


def test_a_pickle_without_end_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "MOST_OPERATIONS", 3_000)
    with pytest.raises(ValueError, match="more than 3,000 operations"):
        pickled.read(io.BytesIO(b"N0" * 2_000 + b"N."), lambda name: False)


def test_two_members_of_one_name(tmp_path: Path) -> None:
    """Which of them counts is a matter of the reader."""
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("w/data/0", bytes(8))
    with pytest.raises(ValueError, match="same name"), torch_file.opened(tmp_path / "w.pth"):
        pass


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("backbone.0.weight", "backbone.0.weight"),
        ("größe 大 é", "größe 大 é"),
        ("a\nb\r\t\0", "a\\nb\\r\\t\\x00"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\u202ec\ud800", "a\\u2028b\\u202ec\\ud800"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("", ""),
    ],
)
def test_names_are_shown_on_one_line(text: str, answer: str) -> None:
    assert shown(text) == answer
    assert len(shown(text * 50, 20)) <= 20


def test_state_dicts_of_one_tensor(tmp_path: Path) -> None:
    tensor: Tensor = torch.ones(2)
    torch.save({"module.net.a": tensor}, tmp_path / "w.pth")
    assert list(all_tensors(tmp_path / "w.pth")) == ["module.net.a"]
