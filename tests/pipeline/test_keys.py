"""What ids of artifacts and keys of results hang on: bench's own versions, and trainings that the clock cut short."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import artifacts, experiment, runtimes
from bench.pipeline.jobs import keys
from bench.pipeline.prepare import prepare
from bench.pipeline.prepared import Setup
from bench.results import timing
from bench.runtimes import onnxruntime
from bench.runtimes.onnxruntime import lowering
from bench.variants import build, cache, description, ids
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from bench.variants.steps import quantize
from bench.variants.steps.recover import training
from tests.conftest import Build

TRAINED = {"steps": 4, "batch_size": 8, "enough": 0.0, "learning_rate": 1e-4, "recalibrate": False, "minutes": 60}
CAPPED: list[object] = [
    {"prune": {"amount": 0.5, "ranking": "magnitude", "repair": False}},
    {"recover": TRAINED},
    {"cast": "fp16"},
]


# --------------------------------------------------------------------------------------- versions
@pytest.fixture
def setup(workplace: Path) -> Setup:
    path = workplace / "experiments.yaml"
    return prepare(experiment.read(path), path).first


@pytest.mark.parametrize("name", runtimes.names())
def test_results_hang_on_the_versions_that_a_runtime_executes_with(
    name: str, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    device: Any = runtimes.devices(name)[0]
    asked = replace(setup, device=device, settings=setup.settings.model_copy(update={"runtime": name}))
    versions = runtimes.find(name).VERSIONS
    assert versions
    for part in versions:
        before = keys(asked, "a variant", "torch")
        monkeypatch.setitem(versions, part, 99)
        after = keys(asked, "a variant", "torch")
        assert before[0] == after[0] == name
        assert not set(before[1:]) & set(after[1:]), f"predictions and times hang on {part}"


def test_tf32_is_part_of_the_keys_on_cuda_alone(setup: Setup) -> None:
    without = replace(setup, settings=setup.settings.model_copy(update={"tf32": False}))
    assert keys(setup, "a variant", "torch") == keys(without, "a variant", "torch"), "a CPU has no TF32"
    on_cuda = [keys(replace(variation, device="cuda"), "a variant", "torch") for variation in (setup, without)]
    assert not set(on_cuda[0][1:]) & set(on_cuda[1][1:])


def test_how_a_gpu_is_timed_takes_no_times_of_a_cpu_away(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor predictions."""
    assert timing.VERSIONS["cpu"] == 2
    before = {device: keys(replace(setup, device=device), "a variant", "torch") for device in ("cpu", "cuda")}
    monkeypatch.setitem(timing.VERSIONS, "cuda", 99)
    after = {device: keys(replace(setup, device=device), "a variant", "torch") for device in ("cpu", "cuda")}
    assert before["cpu"] == after["cpu"]
    assert before["cuda"][:2] == after["cuda"][:2]
    assert before["cuda"][2] != after["cuda"][2]


def test_runtimes_tell_the_versions_of_what_they_make_of_an_artifact() -> None:
    for name in runtimes.names():
        exports = "onnx" in runtimes.find(name).ACCEPTS
        assert runtimes.find(name).VERSIONS.get("export") == (artifacts.EXPORT_VERSION if exports else None)
    assert onnxruntime.VERSIONS["lowering"] == lowering.VERSION


def test_what_is_quantised_is_the_export(
    context: BuildContext,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chains = [[parse({name: value})] for name, value in (("quantize", "int8"), ("cast", "fp16"))]
    before = [ids.of_chain(source, chain, context) for chain in chains]
    monkeypatch.setattr(artifacts, "EXPORT_VERSION", 99)
    after = [ids.of_chain(source, chain, context) for chain in chains]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]


def test_what_is_made_as_before_keeps_the_version_before(
    context: BuildContext, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    chains = [[parse({"quantize": settings})] for settings in ({"weights": "int8"}, "int8")]
    before = [ids.of_chain(source, chain, context) for chain in chains]
    monkeypatch.setattr(quantize, "VERSION", quantize.VERSION + 1)
    after = [ids.of_chain(source, chain, context) for chain in chains]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False]


@pytest.mark.slow
def test_operators_are_counted_again_where_the_graph_is_lowered_otherwise(
    tmp_path: Path, common: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = common({"quantize": "int8"})
    built = replace(shared, file=Path(shutil.copy(shared.file, tmp_path)))
    first = onnxruntime.load(built, "cpu", 1).executed
    for count_file in tmp_path.glob("*.operators-*.json"):
        count_file.write_text('{"integer": 1, "heavy": 1, "meant": 1}')
    assert onnxruntime.load(built, "cpu", 1).executed.heavy_operators == 1, "they are kept"
    monkeypatch.setattr(lowering, "VERSION", 99)
    assert onnxruntime.load(built, "cpu", 1).executed == first


# --------------------------------------------------------------------------------- the clock's cut
def cut_after(count: int, patch: pytest.MonkeyPatch) -> None:
    """What the clock does, at a step that does not hang on the machine."""

    def affordable(state: Any, settings: Any) -> int:
        state.cut_short = True
        return count

    patch.setattr(training, "_affordable", affordable)


def description_of(folder: Path, variant: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / variant / description.DESCRIPTION).read_text(encoding="utf-8"))
    return content


@pytest.mark.slow
def test_a_training_that_was_cut_short_has_an_id_of_its_own(
    context: BuildContext,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = [parse(entry) for entry in CAPPED]
    asked = ids.of_chain(source, chain, context)
    lineages = []
    for count in (1, 3):
        cut_after(count, monkeypatch)
        built = build.build("x", source, chain, context)
        lineages.append(ids.of_chain(source, chain, context))
        assert built.id == lineages[-1][-1]
        description = description_of(context.folder, lineages[-1][2])
        assert description["recover"]["steps"] == count
        assert (description["id"], description["asked_for"]) == (lineages[-1][2], asked[2])
        assert [link["id"] for link in description_of(context.folder, built.id)["lineage"]] == lineages[-1]
        assert build.build("x", source, chain, context) == built, "what was cut short is found again, and not built"
        shutil.rmtree(context.folder / lineages[-1][2])
    for first, second, third in zip(asked[2:], lineages[0][2:], lineages[1][2:], strict=True):
        assert len({first, second, third}) == 3
    assert lineages[0][:2] == lineages[1][:2] == asked[:2]
    assert ids.of_chain(source, chain, context) == asked, "nothing of it is there any more"


@pytest.mark.slow
def test_what_was_damaged_is_made_again_without_what_hung_on_it(
    context: BuildContext,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = [parse(entry) for entry in CAPPED[:2]]
    cut_after(1, monkeypatch)
    first = build.build("x", source, chain, context)
    first.file.write_bytes(first.file.read_bytes()[:-1] + b"?")
    with pytest.raises(Exception, match="has changed since it was built"):
        cache.check(first)
    cut_after(3, monkeypatch)
    second = build.build("x", source, chain, context)
    assert second.id != first.id
    cache.check(second)


def test_a_cap_that_does_not_bite_changes_nothing(
    context: BuildContext,
    source: Source,
) -> None:
    chain = [parse(entry) for entry in CAPPED]
    asked = ids.of_chain(source, chain, context)
    assert build.build("x", source, chain, context).id == asked[-1]
    assert ids.of_chain(source, chain, context) == asked
    assert description_of(context.folder, asked[2])["recover"]["cut_short"] is False


def test_only_a_cap_makes_ids_hang_on_what_lies_there(
    context: BuildContext,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ids, "_cut_short", lambda *_: pytest.fail("nothing to look for"))
    ids.of_chain(source, [parse(entry) for entry in ({"prune": 0.5}, "recover", {"quantize": "int8"})], context)
