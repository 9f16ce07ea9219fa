"""Every way in which a stored file can be other than `bench` wrote it: by damage, or by a stranger's hand."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SECRET = "a secret of the person who opens the folder"
COMMAND = "a\n::error::a command to the CI system"
VALUES: tuple[Any, ...] = (
    None, True, "text", COMMAND, "../../../outside/secret", "/etc/passwd", "\ud800", "x" * 100_000,
    -1, 0, 5.0, 1e308, 2**62, 10**30, [], [[]], {}, {"a": 1},
)  # fmt: skip
NOT_FINITE = ("NaN", "Infinity", "-Infinity", "1e999")


@dataclass(frozen=True)
class Damage:
    """One fault in one file, which `make` brings about in a folder beside which `outside` lies."""

    file: str
    what: str
    make: Callable[[Path], object]

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def of_all(folder: Path) -> list[Damage]:
    """All that can be wrong with what a finished run left in a folder, and with nothing that its owner put there."""
    stored = [
        path for room in ("results", "variants", "reports", "datasets/.cache", "accepted.json")
        for path in [folder / room, *(folder / room).rglob("*")] if path.is_file() and not _is_apart(path)
    ]  # fmt: skip
    return [damage for path in sorted(stored) for damage in of_file(folder, path.relative_to(folder).as_posix())]


def _is_apart(path: Path) -> bool:
    """Locks and logs are read by nobody; of pictures and thumbnails there are many, all read in one way."""
    return path.suffix in (".lock", ".log", ".holder", ".png") or ".lock" in path.name


def of_file(folder: Path, file: str) -> Iterator[Damage]:
    yield from of_bytes(folder, file)
    path = folder / file
    if path.suffix == ".json":
        yield from of_json(path, file)
    if path.suffix == ".parquet":
        yield from of_table(path, file)
    if path.suffix == ".npy":
        yield from of_array(path, file)


def of_bytes(folder: Path, file: str) -> Iterator[Damage]:
    data = (folder / file).read_bytes()
    flipped = bytearray(data)
    if data:
        flipped[len(data) // 2] ^= 16
    contents = {"empty": b"", "cut": data[: len(data) // 2], "a bit flipped": bytes(flipped), "longer": data + b"\0x"}
    for what, content in contents.items():
        yield Damage(file, what, _replaced(file, lambda path, content=content: path.write_bytes(content)))  # type: ignore[misc]
    yield Damage(file, "gone", _replaced(file, lambda path: None))
    yield Damage(file, "a folder", _replaced(file, lambda path: path.mkdir()))
    yield Damage(file, "a full folder", _replaced(file, lambda path: (path / "inside").mkdir(parents=True)))
    yield Damage(file, "a link to a secret", _replaced(file, lambda path: path.symlink_to(_outside(path) / "secret")))
    yield Damage(file, "a link into nothing", _replaced(file, lambda path: path.symlink_to(_outside(path) / "none")))
    yield Damage(file, "a named pipe", _replaced(file, os.mkfifo))
    yield Damage(file, "its folder is a link", lambda root: _linked(root, (root / file).parent))


def _outside(path: Path) -> Path:
    return next(above for above in path.parents if (above / "outside").is_dir()) / "outside"


def _linked(root: Path, folder: Path) -> None:
    """The folder of a file leads to somebody else's; what lay there goes along, so that it is found."""
    target = _outside(folder) / "folder"
    if folder != root:
        folder.rename(folder.with_name("moved"))
        folder.symlink_to(target)


def _replaced(file: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(root: Path) -> None:
        (root / file).unlink()
        make(root / file)

    return change


# ------------------------------------------------------------------------------------------------ JSON
def of_json(path: Path, file: str) -> Iterator[Damage]:
    text = path.read_text(encoding="utf-8")
    try:
        tree = json.loads(text)
    except ValueError:
        return
    contents: dict[str, str | bytes] = {
        "nested deep": "[" * 100_000, "nested deep in a key": '{"schema":' * 5_000 + "1" + "}" * 5_000,
        "a list": "[]", "a number": "5", "null": "null", "not UTF-8": b"\xff\xfe{}", "twice": text + text,
    }  # fmt: skip
    for what, content in contents.items():
        data = content if isinstance(content, bytes) else content.encode()
        yield Damage(file, what, _replaced(file, lambda path, data=data: path.write_bytes(data)))  # type: ignore[misc]
    # It is not read but where this user sealed it: one value is as good as another.
    sealed = path.name == "scores.json"
    for keys in list(value_paths(tree))[:: 50 if sealed else 1]:
        name = ".".join(map(str, keys))
        yield Damage(file, f"{name} gone", _changed(file, keys, _remove))
        for value in VALUES:
            shown = json.dumps(value)[:40]
            yield Damage(file, f"{name} = {shown}", _changed(file, keys, lambda h, k, v=value: h.__setitem__(k, v)))  # type: ignore[misc]
        for word in NOT_FINITE:
            yield Damage(file, f"{name} = {word}", _changed(file, keys, _put, word))


def value_paths(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value; of lists the first two."""
    keys = list(tree) if isinstance(tree, dict) else range(min(len(tree), 2)) if isinstance(tree, list) else ()
    for key in keys:
        yield (*before, key)
        yield from value_paths(tree[key], (*before, key))


_WORD = "a word that JSON does not know"


def _put(holder: Any, key: Any) -> None:
    holder[key] = _WORD


def _remove(holder: Any, key: Any) -> None:
    del holder[key]


def _changed(
    file: str, keys: tuple[Any, ...], change: Callable[[Any, Any], object], word: str = ""
) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        tree = json.loads((root / file).read_text(encoding="utf-8"))
        holder = tree
        for key in keys[:-1]:
            holder = holder[key]
        change(holder, keys[-1])
        text = json.dumps(tree).replace(json.dumps(_WORD), word)
        (root / file).write_text(text, encoding="utf-8")

    return make


# ---------------------------------------------------------------------------------------------- tables
def of_table(path: Path, file: str) -> Iterator[Damage]:
    table = pd.read_parquet(path)
    others: dict[str, pd.DataFrame] = {
        "no rows": table.iloc[:0], "half the rows": table.iloc[: len(table) // 2], "no columns": table[[]],
        "rows twice": pd.concat([table, table]), "rows turned round": table.iloc[::-1],
    }  # fmt: skip
    for column in table.columns:
        others[f"no {column}"] = table.drop(columns=[column])
        for what, value in {
            "text": "text", "a command": COMMAND, "nothing": None, "5.0": 5.0, "-1": -1, "NaN": np.nan,
            "infinity": np.inf, "a list": [[1]] * len(table), "bytes": b"\xff",
            "nobody's path": "../../../outside/secret", "a slash": "/",
            "a NUL": "a\0b", "huge": 1e308, "an empty text": "",
        }.items():  # fmt: skip
            others[f"{column} = {what}"] = _with(table, str(column), value)
    for what, other in others.items():
        yield Damage(file, what, lambda root, other=other: other.to_parquet(root / file, index=False))  # type: ignore[misc]
    yield Damage(file, "a CSV file", lambda root: table.to_csv(root / file, index=False))


def _with(table: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    other = table.copy()
    other[column] = value
    return other


# ---------------------------------------------------------------------------------------------- arrays
class Executed:
    """Unpickling it leaves a file that is looked for."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed-pickle",))


def of_array(path: Path, file: str) -> Iterator[Damage]:
    array = np.load(path)
    arrays = {
        "another number of frames": array[:-1], "another shape": array.reshape(len(array), -1), "no frames": array[:0],
        "integers": array.astype(np.int64), "halves": array.astype(np.float16), "complex": array.astype(np.complex64),
        "text": np.full(len(array), "text"), "one number": np.float32(1), "not finite": np.full_like(array, np.nan),
        "wide maps": np.zeros((len(array), 1, 5000), np.float32), "no maps": array[:, :0],
    }  # fmt: skip
    for what, other in arrays.items():
        yield Damage(file, what, lambda root, other=other: np.save(root / file, other))  # type: ignore[misc]
    objects = np.array([Executed()], dtype=object)
    yield Damage(file, "pickled objects", lambda root: np.save(root / file, objects, allow_pickle=True))
    yield Damage(file, "a pickle", lambda root: (root / file).write_bytes(pickle.dumps(Executed())))
    for shape in ("(99999999999, 9, 9)", "(-1, 9, 9)", "(" * 5000, "__import__('os').mkdir('executed-header')"):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        yield Damage(file, f"a header of {shape[:30]}", _replaced(file, lambda path, data=data: path.write_bytes(data)))  # type: ignore[misc]
