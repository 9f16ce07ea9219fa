"""Parts of an experiment on machines that see no common folder: what they share by an address ends as one run."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.errors import UserError
from bench.pipeline.sharding import sharing
from bench.remote import Store
from bench.results import predict
from tests.conftest import quick_folder, write_frames
from tests.pipeline.test_interrupted import _timeless
from tests.support import stores, tiny
from tests.support.command_line import bench
from tests.support.stores import BUCKET

STORE = f"s3://{BUCKET}/team"
WEIGHTS = f"s3://{BUCKET}/weights/best.tar"
YAML = f"""
detectors: {{mine: {{architecture: tiny, weights: best_model.tar, preprocessing: {{preset: fsbi, size: 32}}}}}}
datasets: {{faces: {{path: faces}}, far: {{path: "s3://{BUCKET}/faces"}}}}
experiments:
  first:
    detector: mine
    frames: faces
    device: cpu
    threads: 1
    gallery: {{top: 1}}
    robustness: {{jpeg: [50]}}
    variants: {{baseline: [], q8: [quantize: int8]}}
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
FRAMES = 4
"""In a shard here."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, server: stores.Server) -> Iterator[Path]:
    """A folder of machines, whose frames lie at an address too, and "alone", where one run did it all."""
    with quick_folder(tmp_path_factory, "world") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "SHARD_FRAMES", FRAMES)
        patch.setattr(sharing, "UPLOAD_SECONDS", 0.05)
        client = server.emptied(patch)
        tiny.save_weights(folder / "best_model.tar")
        for seed, (split, count) in enumerate((("test", 5), ("validation", 2), ("calibration", 8))):
            write_frames(folder / "faces" / split, count, count, seed)
        stores.upload(client, folder / "faces", "faces")
        client.upload_file(str(folder / "best_model.tar"), BUCKET, "weights/best.tar")
        assert command(machine(folder, "alone"), "run", "--no-timing") == (0, "")
        yield folder


def machine(world: Path, name: str, *, far: bool = False) -> Path:
    """A machine that has the experiment file, unless they are `far` the weights and the frames, and nothing else."""
    folder = world / name
    folder.mkdir()
    yaml = YAML.replace("frames: faces", "frames: far").replace("best_model.tar", f'"{WEIGHTS}"') if far else YAML
    (folder / "experiments.yaml").write_text(yaml)
    for file in () if far else ("best_model.tar", "faces"):
        (folder / file).symlink_to(world / file)
    return folder


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code of a command on a machine, and where that is not 0 what it said."""
    code, output = bench(*arguments, "-f", str(folder / "experiments.yaml"))
    assert stores.SECRET not in output
    return code, output if code else ""


def results(folder: Path) -> dict[str, Any]:
    """All that a run comes to, apart from times."""
    content: dict[str, Any] = {"scores": _timeless(json.loads((folder / "reports/first/scores.json").read_text()))}
    for variant in ("baseline", "q8"):
        of = folder / "results/first" / variant
        for file in (of / "predictions.parquet", of / "robustness/jpeg-50/predictions.parquet"):
            content[f"{variant} {file.parent.name}"] = pd.read_parquet(file).to_dict()
        content[f"{variant} maps"] = hashlib.sha256((of / "cam.npy").read_bytes()).hexdigest()
    return content | models(folder)


def models(folder: Path) -> dict[str, str]:
    """The digests of artifacts and of what was exported beside them, by their paths."""
    files = [file for ending in ("safetensors", "onnx") for file in folder.glob(f"variants/*/model.*{ending}")]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def of_frames(content: dict[str, Any]) -> dict[str, Any]:
    """The same without what reports call frame sets by."""
    return {key: value for key, value in content.items() if key != "scores"}


def test_machines_that_share_an_address_end_as_one_run(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One builds, three evaluate, of which one is cut off while it uploads and is lost; a fifth one merges."""
    store = ("--store", STORE)
    builder = machine(world, "builder")
    assert command(builder, "run", "--build-only", *store) == (0, "")
    first, second, third, last = (machine(world, name) for name in ("first", "second", "third", "last"))
    assert command(first, "run", "--shard", "1/2", *store) == (0, "")
    built = {file.parent.name: file.read_bytes() for file in builder.glob("variants/*/variant.json")}
    assert built == {file.parent.name: file.read_bytes() for file in first.glob("variants/*/variant.json")}
    with monkeypatch.context() as patch:
        _cut_off_at_upload(patch, 3)
        assert command(second, "run", "--shard", "2/2", *store)[0] == 2
    code, output = command(last, "merge", "--no-timing", *store)
    assert code == 2
    assert "1 of 2 parts is missing: 2/2" in output
    uploaded = _shards_at(STORE)
    shutil.rmtree(second)
    with monkeypatch.context() as patch:
        puts = _noted_uploads(patch)
        assert command(third, "run", "--shard", "2/2", *store) == (0, "")
    assert sorted(puts) == sorted(_shards_at(STORE) - uploaded), "what is there is not uploaded again"
    assert puts
    assert command(last, "merge", "--no-timing", *store) == (0, "")
    assert results(last) == results(world / "alone")
    assert not _shards_at(STORE)
    logs = "".join(file.read_text() for file in last.glob("results/first/run-*.log"))
    assert f"fetching from {STORE}/first: ended" in logs
    assert f"uploading to {STORE}/first: ended" in logs
    fresh = machine(world, "fresh")
    assert command(fresh, "merge", "--no-timing", *store) == (0, "")
    assert results(fresh) == results(world / "alone")


def test_machines_that_built_other_bits_use_those_that_are_shared(world: Path) -> None:
    """No build came first; one machine even has artifacts of its own."""
    store = ("--store", f"{STORE}/unbuilt")
    first, second = (machine(world, name) for name in ("unbuilt-1", "unbuilt-2"))
    assert command(second, "run", "--build-only") == (0, "")
    _have_other_bits(second)
    assert command(first, "run", "--shard", "1/2", *store) == (0, "")
    assert command(second, "run", "--shard", "2/2", *store) == (0, "")
    assert command(second, "merge", "--no-timing", *store) == (0, "")
    assert results(second) == results(world / "alone")


def test_what_is_damaged_there_is_told_and_made_again(world: Path) -> None:
    """A shard, the record of a part, then joined predictions: nothing of it gets into a report."""
    address = f"{STORE}/damaged"
    store, shared = ("--store", address), Store(f"{address}/first")
    first, last = (machine(world, name) for name in ("damaged-1", "damaged-2"))
    for part in ("1/2", "2/2"):
        assert command(first, "run", "--shard", part, *store) == (0, "")
    shards = {name for name in shared.items() if "/q8/.shards/" in name}
    damaged = min(shards)
    shared.write(damaged, _altered(first / damaged))
    code, output = command(last, "merge", "--no-timing", *store)
    assert (code, "shards are gone or damaged: 1 of 2 parts is missing: 1/2" in output) == (2, True)
    assert f"`bench run first --store {address} --shard 1/2` makes it" in output
    assert {name for name in shared.items() if "/q8/.shards/" in name} == shards - {damaged}
    assert command(machine(world, "damaged-3"), "run", "--shard", "1/2", *store) == (0, "")
    record = "results/first/.sharding/of-2/2.json"
    whole = (first / record).read_bytes()
    shared.write(record, b"\xff" + whole[1:])
    code, output = command(last, "merge", "--no-timing", *store)
    assert (code, f"{address}/first/{record}: damaged (it is not UTF-8 text); delete it there" in output) == (2, True)
    shared.write(record, whole)
    assert command(last, "merge", "--no-timing", *store) == (0, "")
    assert results(last) == results(world / "alone")
    table = "results/first/q8/predictions.parquet"
    shared.write(table, _altered(last / table))
    fresh = machine(world, "damaged-4")
    code, output = command(fresh, "merge", "--no-timing", *store)
    assert (code, "no parts are there yet" in output) == (2, True)
    logs = "".join(log.read_text() for log in fresh.glob("results/first/run-*.log"))
    assert f"warning: {address}/first/results/first/q8: the predictions there are damaged" in logs
    assert command(fresh, "run", "--shard", "1/1", *store) == (0, "")
    assert command(fresh, "merge", "--no-timing", *store) == (0, "")
    assert results(fresh) == results(world / "alone")
    assert command(machine(world, "damaged-5"), "merge", "--no-timing", *store) == (0, "")


def _altered(file: Path) -> bytes:
    """The content of a file with one byte changed."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    return bytes(content)


@pytest.mark.usefixtures("google")
def test_machines_that_share_an_address_of_google_end_as_one_run(world: Path) -> None:
    store = ("--store", f"gs://{BUCKET}/team")
    first, second, last = (machine(world, name) for name in ("google-1", "google-2", "google-3"))
    assert command(first, "run", "--shard", "1/2", *store) == (0, "")
    assert command(second, "run", "--shard", "2/2", *store) == (0, "")
    assert command(last, "merge", "--no-timing", *store) == (0, "")
    assert results(last) == results(world / "alone")
    assert not _shards_at(f"gs://{BUCKET}/team")


def test_parts_of_two_builds_are_told_apart_and_one_is_made_again(world: Path) -> None:
    """As where two began at the very same moment, or the shared build was lost after a part had used it."""
    store = ("--store", f"{STORE}/two-builds")
    first, second = (machine(world, name) for name in ("two-builds-1", "two-builds-2"))
    assert command(first, "run", "--shard", "1/2", *store) == (0, "")
    shared = Store(f"{STORE}/two-builds/first")
    shared.remove(shared.items("variants"))
    assert command(second, "run", "--build-only") == (0, "")
    _have_other_bits(second)
    code, output = command(second, "run", "--shard", "2/2", *store)
    assert code == 2
    assert "part 1/2 was made elsewhere in another way" in output
    called = f"bench run first --store {STORE}/two-builds"
    assert f"one build, which `{called} --build-only` makes before any begins" in output
    assert f"`{called} --shard 1/2` makes it again" in output
    for part in ("1/2", "2/2"):
        assert command(second, "run", "--shard", part, *store) == (0, "")
    assert command(first, "merge", "--no-timing", *store) == (0, "")
    assert models(first) == models(second) != models(world / "alone")


def test_frames_and_weights_at_addresses_give_the_results_of_those_here(world: Path) -> None:
    folder = machine(world, "far", far=True)
    code, output = command(folder, "plan")
    assert code == 2
    assert "is not copied to this machine yet" in output
    assert command(folder, "run", "--no-timing") == (0, "")
    assert of_frames(results(folder)) == of_frames(results(world / "alone"))
    assert command(folder, "plan") == (0, "")


def _shards_at(store: str) -> set[str]:
    return {name for name in Store(store).items() if name.endswith(".npz")}


def _have_other_bits(folder: Path) -> None:
    """Have every PyTorch artifact differ in the last bit of a weight, as where it was built on another machine."""
    for file in folder.glob("variants/*/model.safetensors"):
        content = bytearray(file.read_bytes())
        content[-4] ^= 1
        file.write_bytes(content)
        described = json.loads((file.parent / "variant.json").read_text())
        described["sha256"] = hashlib.sha256(content).hexdigest()
        (file.parent / "variant.json").write_text(json.dumps(described))


def _noted_uploads(patch: pytest.MonkeyPatch) -> list[str]:
    """The names of shards that are uploaded from here on, one for each time."""
    put, names = Store.put, list[str]()

    def noted(self: Store, source: Path, name: str) -> None:
        put(self, source, name)
        if name.endswith(".npz"):
            names.append(f"{self.address.removeprefix(STORE)}/{name}".lstrip("/"))

    patch.setattr(Store, "put", noted)
    return names


def _cut_off_at_upload(patch: pytest.MonkeyPatch, count: int) -> None:
    """Have the store away from an upload of a shard on."""
    put, seen = Store.put, list[str]()

    def put_or_fail(self: Store, source: Path, name: str) -> None:
        if name.endswith(".npz"):
            seen.append(name)
            if len(seen) >= count:
                raise UserError("the store is away")
        put(self, source, name)

    patch.setattr(Store, "put", put_or_fail)
