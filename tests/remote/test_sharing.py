"""What is put to a store and fetched from it, file by file: what says that all is there comes last, always."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import UserError
from bench.pipeline.sharding import records, sharing
from bench.pipeline.sharding.part import Part
from bench.pipeline.sharding.records import Record
from bench.records import silent
from bench.remote import Store
from bench.variants import cache, description
from tests.support.stores import BUCKET

ADDRESS = f"s3://{BUCKET}/team"
ID, OTHER = "0123456789abcdef", "fedcba9876543210"
RECORD = Record(1, 2, "1", {}, {}, {}, "host", 1, "2026-01-01T00:00:00+00:00")


def opened(base: Path) -> Any:
    return sharing.opened(ADDRESS, base, "first")


def written(base: Path, *names: str) -> list[Path]:
    """Files that hold their names."""
    files = [base / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    return files


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is uploaded, in order."""
    names, put = list[str](), Store.put

    def noted(self: Store, source: Path, name: str) -> None:
        put(self, source, name)
        names.append(name)

    monkeypatch.setattr(Store, "put", noted)
    return names


def test_an_artifact_is_there_once_its_description_is(
    s3: Any, tmp_path: Path, puts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "is_built", lambda folder, variant: (folder / variant / "variant.json").exists())
    lineage = SimpleNamespace(lineage=[SimpleNamespace(id=ID)])
    monkeypatch.setattr(description, "read", lambda folder, variant: lineage)
    first, second = tmp_path / "first", tmp_path / "second"
    names = ("model.kernels-1.json", "model.onnx", "variant.json")
    written(first, *(f"variants/{ID}/{name}" for name in names), f"variants/{ID}/.bench-1-0123456789ab.tmp")
    built: Any = SimpleNamespace(artifacts={"q8": SimpleNamespace(id=ID)})
    opened(first).offer_variants(first / "variants", built, silent)
    assert sorted(puts) == [f"variants/{ID}/{name}" for name in names]
    assert puts[-1].endswith("variant.json")
    opened(first).offer_variants(first / "variants", built, silent)
    assert len(puts) == 3, "what is there is not uploaded again"
    s3.put_object(Bucket=BUCKET, Key=f"team/first/variants/{OTHER}/model.onnx", Body=b"not all of it yet")
    opened(second).begin(silent)
    assert sorted(file.name for file in (second / "variants" / ID).iterdir()) == sorted(names)
    assert not (second / "variants" / OTHER).exists()


def test_shards_that_a_store_did_not_take_are_uploaded_the_next_time(
    s3: Any, tmp_path: Path, puts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    shards = [f"results/first/q8/.shards/key/{low:09d}.npz" for low in range(6)]
    measures = [f"results/first/.sharding/appearance/digest/{low:09d}.npy" for low in range(6)]
    files = written(first, *shards, *measures)
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
    files = [second / file.relative_to(first) for file in files]
    opened(second).fetch_shards([], Part(1, 2), silent)
    assert [file.read_text() for file in files] == [file.name for file in files]


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


def test_joined_results_take_the_place_of_shards(s3: Any, tmp_path: Path, puts: list[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    opened(first).offer_record(RECORD)
    s3.put_object(Bucket=BUCKET, Key="team/first/results/first/q8/.shards/key/000000000.npz", Body=b"shard")
    joined = ("predictions.json", "predictions.parquet", ".lock")
    written(first, *(f"results/first/q8/{name}" for name in joined), "reports/first/report.html")
    opened(first).offer_results(silent)
    assert puts[-1] == "results/first/q8/predictions.json"
    names = sorted(Store(f"{ADDRESS}/first").items())
    assert names == ["reports/first/report.html", *(f"results/first/q8/{name}" for name in joined[:2])]
    opened(second).fetch_results(silent)
    assert (second / "results/first/q8/predictions.json").is_file()
