"""Whatever stands in experiments.yaml or in a manifest: a result or a message, never a traceback."""

from __future__ import annotations

import copy
import datetime
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bench import datasets
from bench.datasets import FrameSetSettings
from bench.errors import UserError
from bench.experiment import Experiments, read
from tests.conftest import write_frames
from tests.support.chains import check as check_chain

TEMPLATE: dict[str, Any] = {
    "detectors": {"mine": {"architecture": "efficientnet_b0", "weights": "w.pth",
                           "preprocessing": {"preset": "fsbi", "size": 160, "mean": [0.0, 0.0, 0.0]}}},
    "datasets": {"faces": {"path": "faces", "split": "auto", "source_pattern": r"(id\d+)_"},
                 "celeb": {"test": {"path": "celeb", "source_pattern": "(x)"}, "train": "faces"}},
    "experiments": {"first": {
        "detector": "mine", "frames": "faces", "device": "cpu", "runtime": "auto", "threshold": 0.5, "seed": 1,
        "threads": "auto", "timing": {"seconds": 3}, "gallery": {"top": 5, "heatmaps": "all"}, "on_bad_frame": "skip",
        "variants": {"baseline": [], "q16": [{"cast": "fp16"}],
                     "p50": [{"prune": 0.5}, {"recover": {"steps": 3}}, "quantize"]}}},
}  # fmt: skip

# The same examples every time; FUZZ=10 tries ten times as many, others each time.
MORE = int(os.environ.get("FUZZ", "0"))
often = settings(
    max_examples=80 * max(MORE, 1),
    derandomize=not MORE,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
seldom = settings(often, max_examples=30 * max(MORE, 1))

texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "..", "/", "~", "~nobody", "a/b", "<<", "=", "no", "2:4", "0x1F", "1e999", "\n", "'", "x" * 400]
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(10**300, 10**301), st.floats(), texts, st.binary(max_size=8),
    st.dates(), st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(scalars, inner, max_size=4)),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fuzz")
    write_frames(made / "faces", 3, 3, 0, size=8)
    return made


def judge(path: Path) -> Experiments | None:
    """Everything that is asked of the file before weights and frames are opened."""
    try:
        experiments = read(path)
        for experiment in experiments.experiments.values():
            for chain in experiment.chains.values():
                check_chain(chain)
        return experiments
    except UserError as error:
        message = str(error)
    judge_message(message)
    return None


def judge_message(message: str) -> None:
    """It can be written, steers no terminal, and no line of it is a command for whoever reads the output."""
    message.encode("utf-8")
    assert 0 < len(message) < 20_000
    for line in message.split("\n"):
        assert line.isprintable(), repr(line)
        assert not line.startswith("::"), line


def judge_frames(folder: Path, entry: FrameSetSettings) -> None:
    # A path that leads elsewhere is a legitimate one, and may be the whole disk.
    paths = [entry.path] if entry.path is not None else [location.path for location in entry.locations.values()]
    assume(all((folder / path).is_relative_to(folder) and ".." not in path and path != "." for path in paths))
    try:
        datasets.load("faces", entry, folder, folder / ".cache")
    except UserError as error:
        judge_message(str(error))


def positions(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a tree with each of its keys or indices."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], (dict, list)):
            yield from positions(tree[key])


@st.composite
def mutated(draw: Callable[..., Any]) -> dict[str, Any]:
    """The template with one to three places dropped, replaced, renamed, or put elsewhere."""
    tree = copy.deepcopy(TEMPLATE)
    for _ in range(draw(st.integers(1, 3))):
        spots = list(positions(tree))
        if not spots:
            break
        holder, key = spots[draw(st.integers(0, len(spots) - 1))]
        change = draw(st.sampled_from(["drop", "replace", "replace", "rename", "same"]))
        if change == "drop":
            del holder[key]
        elif change == "replace" or isinstance(holder, list):
            holder[key] = draw(trees)
        elif change == "rename":
            holder[draw(scalars)] = holder.pop(key)
        else:
            other, other_key = spots[draw(st.integers(0, len(spots) - 1))]
            holder[key] = copy.deepcopy(other.get(other_key) if isinstance(other, dict) else None)
    return tree


@often
@given(tree=st.one_of(mutated(), mutated(), trees))
def test_any_tree_as_experiments(folder: Path, tree: Any) -> None:
    path = folder / "tree.yaml"
    path.write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8", errors="replace")
    experiments = judge(path)
    for entry in experiments.datasets.values() if experiments else ():
        judge_frames(folder, entry)


@often
@given(edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 30), texts), min_size=1, max_size=4))
def test_any_edit_of_good_text(folder: Path, edits: list[tuple[int, int, str]]) -> None:
    text = yaml.safe_dump(TEMPLATE)
    for position, length, new in edits:
        at = position % (len(text) + 1)
        text = text[:at] + new + text[at + length :]
    path = folder / "text.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    judge(path)


@often
@given(data=st.one_of(st.binary(max_size=200), st.text("ab:-[]{},&*!|>?#'\"\\ \n\t0<", max_size=60).map(str.encode)))
def test_any_bytes_as_experiments(folder: Path, data: bytes) -> None:
    path = folder / "bytes.yaml"
    path.write_bytes(data)
    judge(path)


TAGS = ("int", "float", "bool", "null", "timestamp", "binary", "set", "omap", "pairs", "map", "seq", "merge", "value")


@seldom
@given(tag=st.sampled_from(TAGS), value=texts, position=st.sampled_from(["key", "value", "top"]))
def test_any_tag(folder: Path, tag: str, value: str, position: str) -> None:
    """YAML's own constructors fail in many ways on what their tags do not fit."""
    quoted = yaml.safe_dump(value, default_style='"', allow_unicode=False).strip()
    spelled = f"!!{tag} {quoted}"
    text = {"key": f"? {spelled}\n: 1\n", "value": f"detectors: {spelled}\n", "top": f"{spelled}\n"}[position]
    path = folder / "tag.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    judge(path)


# ------------------------------------------------------------------------------------------ manifests
cells = st.one_of(
    st.sampled_from(["real/000.png", "fake/000.png", "real", "fake", "0", "1", "test", "train", "", "..", "/", "a\0"]),
    st.text(max_size=6),
    st.just("x" * 140_000),
)
columns = st.sampled_from(["path", "label", "source", "split", "Path ", "pth", "", "ä", "path"])


@often
@given(data=st.one_of(st.binary(max_size=300), st.text("path,label\n\"'\\;\t\r\0\ufeff", max_size=80).map(str.encode)))
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_any_bytes_as_a_manifest(folder: Path, kind: str, data: bytes) -> None:
    (folder / f"faces/any.{kind}").write_bytes(data if kind == "csv" else b"PAR1" + data + b"PAR1")
    judge_frames(folder, FrameSetSettings(path=f"faces/any.{kind}"))


@often
@given(
    header=st.lists(columns, min_size=1, max_size=5),
    rows=st.lists(st.lists(cells, max_size=6), max_size=6),
    between=st.sampled_from([",", ",", ",", ";", "\t"]),
    mark=st.sampled_from(["", "\ufeff"]),
    split=st.sampled_from([None, "auto"]),
)
def test_any_cells_in_csv(
    folder: Path, header: list[str], rows: list[list[str]], between: str, mark: str, split: Any
) -> None:
    text = mark + "\n".join(between.join(row) for row in [header, *rows])
    (folder / "faces/cells.csv").write_text(text, encoding="utf-8", errors="replace")
    judge_frames(folder, FrameSetSettings(path="faces/cells.csv", split=split))


@seldom
@given(
    names=st.lists(columns, min_size=1, max_size=5, unique=True),
    values=st.lists(
        st.one_of(scalars, cells.filter(lambda cell: len(cell) < 1000), st.lists(st.integers(0, 9), max_size=2)),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_any_columns_in_parquet(folder: Path, names: list[str], values: list[Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    try:
        column = pyarrow.array(values)
        pyarrow.parquet.write_table(pyarrow.table([column] * len(names), names=names), folder / "faces/cells.parquet")
    except (pyarrow.ArrowException, ValueError, OverflowError, TypeError):
        assume(False)
    judge_frames(folder, FrameSetSettings(path="faces/cells.parquet"))
