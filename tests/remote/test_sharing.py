"""What is put to a store and fetched from it, file by file: what says that all is there comes last, always."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import stored
from bench.errors import UserError
from bench.pipeline.sharding import records, sharing
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.records import Record
from bench.records import ChainForecast, Event, SearchTrail, TriedChain, silent
from bench.remote import Store
from bench.results import predict
from bench.variants import cache, description
from tests.support.stores import BUCKET

ADDRESS = f"s3://{BUCKET}/team"
ID, OTHER = "0123456789abcdef", "fedcba9876543210"
RECORD = Record(1, 2, "1", {}, {}, {}, "host", 1, "2026-01-01T00:00:00+00:00")
KERNELS = f"variants/{ID}/model.kernels-1.json"
SHARD = "results/first/q8/.shards/key/000000000.npz"


def opened(base: Path) -> Any:
    return sharing.opened(ADDRESS, base, "first")


def written(base: Path, *names: str) -> list[Path]:
    """Files that hold their names."""
    files = [base / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    return files


def artifact(base: Path, content: str = "model", variant: str = ID) -> Path:
    """The folder of an artifact whose model holds these words."""
    (model,) = written(base, f"variants/{variant}/model.safetensors")
    model.write_text(content)
    described = {
        "id": variant,
        "name": "q8",
        "architecture": "tiny",
        "lineage": [{"id": variant, "step": "weights"}],
        "file": model.name,
        "sha256": digest(content),
        "kind": "torch",
        "stored": "fp32",
        "size_bytes": len(content),
        "parameters": 1,
        "macs": 1,
        "margin_bias": 0.0,
        "seconds": 1.0,
    }
    (model.parent / "variant.json").write_text(json.dumps(described))
    return model.parent


def digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def model_of(base: Path) -> str:
    """What the model holds, once it is what its description says."""
    assert not cache.fault(cache.read(base / "variants", ID))
    return (base / "variants" / ID / "model.safetensors").read_text()


def built(variant: str = ID) -> Any:
    return SimpleNamespace(artifacts={"q8": SimpleNamespace(id=variant)})


def joined(base: Path, key: str, *, maps: bool = True) -> Path:
    """Joined predictions under a key, as large as those under any other key of this length."""
    folder = base / "results/first/q8"
    files = written(base, *(f"results/first/q8/{name}" for name in predict.JOINED[: 1 + maps]))
    for file in files:
        file.write_text(f"{file.name} {key}")
    sizes = {file.name: file.stat().st_size for file in files}
    (folder / predict.MARK).write_text(json.dumps({"key": key, "bytes": sizes}))
    return folder


def keys(folder: Path) -> set[str]:
    """The keys of all files of joined predictions."""
    return {json.loads((folder / predict.MARK).read_text())["key"]} | {
        (folder / name).read_text().split()[1] for name in (predict.PREDICTIONS, predict.CAMS)
    }


def shard(base: Path, name: str = SHARD) -> Path:
    (file,) = written(base, name)
    np.savez(file, logits=np.zeros((2, 2), np.float32))
    return file


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is uploaded, in order."""
    names, put = list[str](), Store.put

    def noted(self: Store, source: Path, name: str) -> None:
        put(self, source, name)
        names.append(name)

    monkeypatch.setattr(Store, "put", noted)
    return names


@pytest.fixture
def before_put(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something else happen, once, before an object whose name has this ending is put."""

    def before(ending: str, happens: Callable[[], object]) -> None:
        put, due = Store.put, [happens]

        def patched(self: Store, source: Path, name: str) -> None:
            if name.endswith(ending) and due:
                due.pop()()
            put(self, source, name)

        monkeypatch.setattr(Store, "put", patched)

    return before


# ------------------------------------------------------------------------------------------ artifacts
def test_an_artifact_is_there_once_its_description_is(s3: Any, tmp_path: Path, puts: list[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    artifact(first)
    written(first, KERNELS, f"variants/{ID}/.bench-1-0123456789ab.tmp")
    assert not opened(first).offer_variants(built(), silent)
    model = f"variants/{ID}/{digest('model')[:16]}/model.safetensors"
    assert puts == [model, KERNELS, f"variants/{ID}/variant.json"]
    opened(first).offer_variants(built(), silent)
    assert len(puts) == 3, "what is there is not uploaded again"
    s3.put_object(Bucket=BUCKET, Key=f"team/first/variants/{OTHER}/{'0' * 16}/model.onnx", Body=b"not all of it yet")
    opened(second).begin(silent)
    names = sorted(file.name for file in (second / "variants" / ID).iterdir())
    assert names == ["model.kernels-1.json", "model.safetensors", "variant.json"]
    assert {path.name for path in (second / "variants").iterdir()} == {ID, ".locks"}


def test_of_an_id_that_two_have_built_the_first_one_there_counts(s3: Any, tmp_path: Path) -> None:
    """With the kernels that were chosen for it: those were timed on one machine, and keys of results hang on them."""
    first, second = tmp_path / "first", tmp_path / "second"
    for base, content in ((first, "bits A"), (second, "bits B")):
        artifact(base, content)
        (kernels,) = written(base, KERNELS)
        kernels.write_text(f'"chosen for {content}"')
    shared = opened(second)
    shared.begin(silent)
    assert not opened(first).offer_variants(built(), silent)
    assert shared.offer_variants(built(), silent), "what was built gives way"
    assert not shared.offer_variants(built(), silent)
    assert model_of(second) == model_of(first) == "bits A"
    assert (second / KERNELS).read_text() == '"chosen for bits A"'


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["model.safetensors", "kernels-1.json", "variant.json"])
def test_two_that_build_at_once_never_mix_their_files(
    s3: Any, tmp_path: Path, before_put: Callable[[str, Callable[[], object]], None], ending: str
) -> None:
    """Whatever the moment at which the other one puts all of its own: whole is what lies there, and both have it."""
    first, second, fresh = (tmp_path / name for name in ("first", "second", "fresh"))
    for base, content in ((first, "bits A"), (second, "bits B")):
        artifact(base, content)
        (kernels,) = written(base, KERNELS)
        kernels.write_text(f'"chosen for {content}"')
    other = opened(first)
    before_put(ending, lambda: other.offer_variants(built(), silent))
    shared = opened(second)
    while shared.offer_variants(built(), silent):
        pass
    while other.offer_variants(built(), silent):
        pass
    opened(fresh).begin(silent)
    assert model_of(first) == model_of(second) == model_of(fresh)
    assert (first / KERNELS).read_text() == (second / KERNELS).read_text() == (fresh / KERNELS).read_text()


def test_a_damaged_artifact_in_the_store_is_built_again_and_replaced(s3: Any, tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    artifact(first)
    written(first, KERNELS)
    opened(first).offer_variants(built(), silent)
    key = f"team/first/variants/{ID}/{digest('model')[:16]}/model.safetensors"
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"mOdel")
    events = list[Event]()
    shared = opened(second)
    shared.begin(events.append)
    shared.begin(events.append)
    assert not (second / "variants" / ID).exists()
    (warning,) = [event.work for event in events if event.unit == "warning"]
    assert f"variants/{ID} is not used (its model has changed since it was built)" in warning
    artifact(second, "mod3l")
    assert not shared.offer_variants(built(), silent)
    opened(third).begin(silent)
    assert model_of(third) == "mod3l"
    assert not (third / KERNELS).exists(), "it was chosen for the other one"
    opened(first).begin(silent)
    assert model_of(first) == "mod3l"


@pytest.mark.parametrize("content", ["{", '{"id": "0123456789abcdef"}'])
def test_a_damaged_description_in_the_store_is_replaced(s3: Any, tmp_path: Path, content: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    s3.put_object(Bucket=BUCKET, Key=f"team/first/variants/{ID}/variant.json", Body=content.encode())
    shared = opened(first)
    shared.begin(silent)
    artifact(first)
    assert not shared.offer_variants(built(), silent)
    opened(second).begin(silent)
    assert model_of(second) == "model"


def test_a_choice_of_the_store_that_is_of_no_use_is_replaced(s3: Any, tmp_path: Path) -> None:
    """Taken once; where it was made again all the same, what was made counts."""
    artifact(tmp_path / "first")
    written(tmp_path / "first", KERNELS)
    opened(tmp_path / "first").offer_variants(built(), silent)
    shared = opened(tmp_path)
    shared.begin(silent)
    (tmp_path / KERNELS).write_text("made again")
    assert not shared.offer_variants(built(), silent)
    fresh = tmp_path / "fresh"
    opened(fresh).begin(silent)
    assert (fresh / KERNELS).read_text() == "made again"


TRIED = TriedChain(("quantize: int8",), ChainForecast(1.0, 1.0, 0.0, 0.0, 0.0), "keeps", id=ID)
ENDED = SearchTrail("1", "smallest", 0.01, 10, 1, 1000, candidates=(TRIED,), ended="tried all", chosen=0)


def trail_file(base: Path, trail: SearchTrail) -> Path:
    """A trail as a search stores it."""
    (file,) = written(base, "results/first/best/search/trail.json")
    file.write_text(json.dumps(stored.adapter(SearchTrail).dump_python(trail, mode="json"), indent=1))
    return file


def test_of_one_search_the_trail_that_was_there_first_counts(s3: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    of_first = trail_file(first, replace(ENDED, foretelling_seconds=1.0))
    of_second = trail_file(second, replace(ENDED, foretelling_seconds=2.0))
    none: Any = SimpleNamespace(artifacts={})
    assert not opened(first).offer_variants(none, silent)
    shared = opened(second)
    assert shared.offer_variants(none, silent)
    assert not shared.offer_variants(none, silent)
    assert of_second.read_bytes() == of_first.read_bytes()
    trail_file(second, replace(ENDED, key="2"))
    assert not opened(second).offer_variants(none, silent), "of another search, that of this experiment is put there"
    assert opened(first).offer_variants(none, silent) is False


def test_a_search_that_broke_off_takes_no_place(s3: Any, tmp_path: Path) -> None:
    broken, ended = tmp_path / "broken", tmp_path / "ended"
    of_broken = trail_file(broken, replace(ENDED, ended="", chosen=-1))
    of_ended = trail_file(ended, ENDED)
    content = of_ended.read_bytes()
    none: Any = SimpleNamespace(artifacts={})
    assert not opened(broken).offer_variants(none, silent)
    assert not opened(ended).offer_variants(none, silent)
    assert of_ended.read_bytes() == content
    assert opened(broken).offer_variants(none, silent), "what has ended counts for others too"
    assert of_broken.read_bytes() == content


@pytest.mark.parametrize("link", ["results/first", "results/first/q8", "results/first/.sharding", f"variants/{ID}"])
def test_nothing_is_written_through_links(s3: Any, tmp_path: Path, link: str) -> None:
    first, second, elsewhere = (tmp_path / name for name in ("first", "second", "elsewhere"))
    artifact(first)
    shared = opened(first)
    shared.offer_variants(built(), silent)
    shared.offer_record(RECORD)
    joined(first, "K1")
    shared.offer_results(silent)
    shared.offer_record(RECORD)
    (record,) = written(elsewhere, "of-2/9.json")
    (second / link).parent.mkdir(parents=True)
    (second / link).symlink_to(elsewhere)
    with pytest.raises(UserError, match=f"{link}: is a link, and bench writes files there"):
        opened(second).begin(silent)
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == [record]


def test_folders_for_all_experiments_may_be_links_to_another_disk(s3: Any, tmp_path: Path) -> None:
    first, second, disk = (tmp_path / name for name in ("first", "second", "disk"))
    artifact(first)
    opened(first).offer_variants(built(), silent)
    for name in ("variants", "results"):
        (disk / name).mkdir(parents=True)
        second.mkdir(exist_ok=True)
        (second / name).symlink_to(disk / name)
    opened(second).begin(silent)
    assert model_of(second) == "model"


# ------------------------------------------------------------------------------------------ shards and records
def test_shards_that_a_store_did_not_take_are_uploaded_the_next_time(
    s3: Any, tmp_path: Path, puts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shards = [f"results/first/q8/.shards/key/{low:09d}.npz" for low in range(6)]
    measures = [f"results/first/.sharding/appearance/digest/{low:09d}.npy" for low in range(6)]
    files = [*(shard(first, name) for name in shards), *written(first, *measures)]
    monkeypatch.setattr(sharing, "_files_of", lambda passes, part: files)
    put = Store.put

    def fail_at_the_last(self: Store, source: Path, name: str) -> None:
        if name == shards[-1]:
            raise UserError("the store is away")
        put(self, source, name)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", fail_at_the_last)
        with pytest.raises(UserError, match="away"), opened(first).offering([], Part(1, 2), silent):
            pass
    assert sorted(puts[:6]) == measures, "what was measured of frames comes before their shards"
    before = list(puts)
    again = opened(first)
    again.fetch_shards([], Part(1, 2), silent)
    with again.offering([], Part(1, 2), silent):
        pass
    assert sorted(puts) == sorted([*measures, *shards])
    assert puts[: len(before)] == before
    targets = [second / file.relative_to(first) for file in files]
    monkeypatch.setattr(sharing, "_files_of", lambda passes, part: targets)
    opened(second).fetch_shards([], Part(1, 2), silent)
    assert [file.read_bytes() for file in targets] == [file.read_bytes() for file in files]


def test_whatever_fails_in_an_upload_meanwhile_is_said_and_tried_again(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, events, failed, put = shard(tmp_path), list[Event](), threading.Event(), Store.put
    logged = list[tuple[Any, ...]]()
    monkeypatch.setattr(sharing._log, "warning", lambda *words, **named: logged.append((*words, named["exc_info"])))
    monkeypatch.setattr(sharing, "_files_of", lambda passes, part: [file])
    monkeypatch.setattr(sharing, "UPLOAD_SECONDS", 0.01)

    def fail_once(self: Store, source: Path, name: str) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a bug of a client")
        put(self, source, name)

    monkeypatch.setattr(Store, "put", fail_once)
    with opened(tmp_path).offering([], Part(1, 2), events.append):
        assert failed.wait(30)
    assert SHARD in Store(f"{ADDRESS}/first").items()
    (warning,) = [event.work for event in events if event.unit == "warning"]
    assert warning == "all shards are uploaded now; 1 upload before had failed (a bug of a client)"
    ((words, error),) = logged
    assert (words, str(error)) == ("uploading shards failed, and is tried again", "a bug of a client")


def test_a_damaged_shard_in_the_store_is_made_and_put_again(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shard(tmp_path)
    whole = file.read_bytes()
    s3.put_object(Bucket=BUCKET, Key=f"team/first/{SHARD}", Body=whole.replace(b"logits", b"l0gits"))
    file.unlink()
    monkeypatch.setattr(sharing, "_files_of", lambda passes, part: [file])
    shared = opened(tmp_path)
    shared.fetch_shards([], Part(1, 2), silent)
    assert not file.exists(), "it is damaged, and made again"
    shard(tmp_path)
    with shared.offering([], Part(1, 2), silent):
        pass
    assert s3.get_object(Bucket=BUCKET, Key=f"team/first/{SHARD}")["Body"].read() == whole


def test_a_shard_that_a_merge_finds_damaged_is_removed_there(s3: Any, tmp_path: Path) -> None:
    """However the merge ends; shards that it has joined stay until its results are there."""
    for name in ("q8", "q16"):
        s3.put_object(Bucket=BUCKET, Key=f"team/first/{SHARD.replace('q8', name)}", Body=b"shard")

    def merge() -> None:
        """Finds one shard damaged, joins another, and fails."""
        with sharing.merging(ADDRESS, tmp_path, "first", silent):
            for name in ("q8", "q16"):
                (tmp_path / SHARD.replace("q8", name)).unlink()
            (table,) = written(tmp_path, f"results/first/q16/{predict.PREDICTIONS}")
            mark = {"key": "key", "bytes": {predict.PREDICTIONS: table.stat().st_size}}
            (table.parent / predict.MARK).write_text(json.dumps(mark))
            raise UserError("fails")

    with pytest.raises(UserError, match="fails"):
        merge()
    assert [name for name in Store(f"{ADDRESS}/first").items() if name.endswith("npz")] == [SHARD.replace("q8", "q16")]


def test_records_are_those_of_the_store(s3: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    opened(first).offer_record(RECORD)
    (old,) = written(second, "results/first/.sharding/of-3/2.json")
    opened(second).fetch_records(silent)
    assert records.read_all(second / "results/first") == [RECORD]
    assert not old.exists()
    opened(first).offer_record(records.ended(RECORD, {"q8": "no memory"}))
    opened(second).fetch_records(silent)
    assert records.read_all(second / "results/first")[0].failed == {"q8": "no memory"}


# ------------------------------------------------------------------------------------------ results
def test_joined_results_take_the_place_of_shards(s3: Any, tmp_path: Path, puts: list[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    opened(first).offer_record(RECORD)
    s3.put_object(Bucket=BUCKET, Key=f"team/first/{SHARD}", Body=b"shard")
    joined(first, "K1")
    written(first, "results/first/q8/.lock", "results/first/q8/measurements.json", "reports/first/report.html")
    opened(first).offer_results(silent)
    files = [f"results/first/q8/{name}" for name in predict.JOINED]
    assert puts.index(f"results/first/q8/{predict.MARK}") > max(puts.index(name) for name in files[:2])
    names = sorted(Store(f"{ADDRESS}/first").items())
    assert names == sorted([*files, "results/first/q8/measurements.json", "reports/first/report.html"])
    puts.clear()
    opened(first).offer_results(silent)
    assert not {*puts} & {*files}, "what is joined there already stays as it is"
    shared = opened(second)
    shared.begin(silent)
    shared.fetch_results(silent)
    assert keys(second / "results/first/q8") == {"K1"}
    assert (second / "results/first/q8/measurements.json").is_file()
    assert not (second / "reports").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [*predict.JOINED, "report.html"])
def test_an_upload_over_earlier_results_that_is_cut_off_is_never_taken_for_whole(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """Results of other weights have files of the same sizes."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    joined(first, "K1")
    opened(first).offer_results(silent)
    joined(third, "K1")
    joined(first, "K2")
    written(first, "reports/first/report.html")
    put = Store.put

    def put_or_fail(self: Store, source: Path, name: str) -> None:
        if name.endswith(ending):
            raise UserError("the store is away")
        put(self, source, name)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", put_or_fail)
        with pytest.raises(UserError, match="away"):
            opened(first).offer_results(silent)
    for base in (second, third):
        shared = opened(base)
        shared.begin(silent)
        shared.fetch_results(silent)
    is_there = ending == "report.html"
    assert predict.is_done(second / "results/first/q8", "K2") == is_there
    assert not predict.is_done(second / "results/first/q8", "K1")
    assert keys(third / "results/first/q8") == {"K1"}, "those here are left as they are"
    opened(first).offer_results(silent)
    opened(second).begin(silent)
    assert keys(second / "results/first/q8") == {"K2"}


def test_joined_results_come_together_or_not_at_all(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    joined(first, "K2")
    opened(first).offer_results(silent)
    folder = joined(second, "K1")
    (folder / predict.MARK).unlink()
    opened(second).begin(silent)
    assert keys(folder) == {"K2"}, "files without a mark are nothing that a mark may be put beside"
    (folder / predict.MARK).unlink()
    get = Store.get

    def replaced_meanwhile(self: Store, name: str, target: Path, size_bytes: int) -> None:
        get(self, name, target, size_bytes)
        if name.endswith(predict.CAMS):
            joined(first, "K3")
            opened(first).offer_results(silent)

    monkeypatch.setattr(Store, "get", replaced_meanwhile)
    with pytest.raises(UserError, match="has changed while it was copied; run the same command again"):
        opened(second).begin(silent)
    assert not (folder / predict.MARK).exists()


def test_maps_of_earlier_results_do_not_stay_beside_results_without_maps(s3: Any, tmp_path: Path) -> None:
    joined(tmp_path, "K1")
    opened(tmp_path).offer_results(silent)
    (tmp_path / "results/first/q8" / predict.CAMS).unlink()
    joined(tmp_path, "K2", maps=False)
    opened(tmp_path).offer_results(silent)
    names = {name.rpartition("/")[2] for name in Store(f"{ADDRESS}/first").items()}
    assert names == {predict.PREDICTIONS, predict.MARK}


def test_heatmaps_that_a_render_removed_do_not_come_back(s3: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    pictures = [f"results/first/{name}/result/tp/heatmap/fake/{index}.jpg" for name in ("q8", "q16") for index in "12"]
    files = written(first, *pictures)
    opened(first).offer_results(silent)
    files[0].unlink()
    shared = opened(first)
    shared.begin(silent)
    shared.fetch_results(silent)
    assert not files[0].exists()
    shared.offer_results(silent)
    assert sorted(Store(f"{ADDRESS}/first").items()) == sorted(pictures[1:])
    written(second, *pictures[:1])
    shared = opened(second)
    shared.begin(silent)
    shared.fetch_results(silent)
    shared.offer_results(silent)
    names = Store(f"{ADDRESS}/first").items()
    assert sorted(names) == sorted([pictures[0], *pictures[2:]]), "those of variants that are not drawn here stay"


def test_descriptions_are_read_the_same_from_text(tmp_path: Path) -> None:
    folder = artifact(tmp_path)
    text = (folder / "variant.json").read_text()
    assert description.parsed(text, ID) == description.read(folder.parent, ID)
