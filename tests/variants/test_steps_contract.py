"""One contract over every step there is: a new file in `bench/variants/steps/` is tested without a line here."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bench.artifacts import safetensors
from bench.errors import UserError
from bench.records import Event, Split
from bench.results.score import p_fake
from bench.runtimes import onnxruntime
from bench.variants import build, ids, steps
from bench.variants.chain import frame_problems, parse
from bench.variants.context import BuildContext, Source
from tests.conftest import Build
from tests.support import ROOT
from tests.support.chains import check as check_chain
from tests.support.step_contract import check_determinism, check_settings, check_step, entry

ON_DETECTORS = [name for name in steps.names() if steps.find(name).ACCEPTS is not None]
"""All but what takes nothing of a detector; files made elsewhere have tests of their own."""


@pytest.mark.parametrize("name", ON_DETECTORS)
def test_every_step(name: str, context: BuildContext, source: Source) -> None:
    check_step(name, context, source)


@pytest.mark.parametrize("name", ON_DETECTORS)
def test_every_step_is_deterministic(
    name: str, context: BuildContext, common_shop: BuildContext, source: Source
) -> None:
    check_determinism(name, context, common_shop, source)


@pytest.mark.parametrize("name", steps.names())
def test_every_step_closes_its_settings(name: str) -> None:
    check_settings(name)


def test_ids_cover_settings_frames_seed_and_order(context: BuildContext, source: Source) -> None:
    """Whatever changes an artifact changes its id, and nothing else does."""

    def last(*entries: object, context: BuildContext = context, source: Source = source) -> str:
        return ids.of_chain(source, [parse(entry) for entry in entries], context)[-1]

    other = context.frames["test"]
    distinct = [
        last({"prune": 0.5}),
        last({"prune": 0.4}),
        last({"prune": 0.5}, "recover", context=replace(context, seed=1)),
        last({"prune": 0.5}, source=replace(source, digest="1" * 64)),
        last({"prune": 0.5}, source=replace(source, preprocessing=replace(source.preprocessing, wavelet="none"))),
        last({"prune": 0.5}, "recover"),
        last({"prune": 0.5}, "recover", context=replace(context, frames={**context.frames, "train": other})),
        last({"quantize": "int8"}),
        last({"quantize": "int8"}, context=replace(context, frames={**context.frames, "calibration": other})),
    ]
    assert len(set(distinct)) == len(distinct)
    assert last({"quantize": "int8"}) == last({"quantize": {"dtype": "int8"}})
    assert last({"prune": 0.5}) == last({"prune": 0.5}, context=replace(context, seed=1)), "prune draws nothing"
    assert last({"quantize": "int8"}) != last({"quantize": "int8"}, context=replace(context, decoder={"pillow": "0"}))
    assert last({"quantize": "int8"}) == last(
        {"quantize": "int8"}, context=replace(context, frames={**context.frames, "train": other})
    ), "frames that a step does not read must not change its id"


def test_the_kind_of_device_is_part_of_the_id_where_it_computes(
    context: BuildContext, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was built on a CPU keeps its id."""

    def last(*entries: object, device: str) -> str:
        return ids.of_chain(source, [parse(entry) for entry in entries], replace(context, device=device))[-1]

    computing: list[list[object]] = [[{"prune": 0.5}], [{"prune": 0.5}, "recover"], [{"prune": 0.5}, {"cast": "fp16"}]]
    elsewhere: list[list[object]] = [[], [{"cast": "fp16"}], [{"quantize": "int8"}]]
    for chain in computing:
        assert last(*chain, device="cuda") != last(*chain, device="cpu")
    for chain in elsewhere:
        assert last(*chain, device="cuda") == last(*chain, device="cpu")
    before = [last(*chain, device="cpu") for chain in computing]
    for name in ("prune", "recover"):
        monkeypatch.delattr(steps.find(name), "ON_DEVICE")
    assert [last(*chain, device="cpu") for chain in computing] == before


@pytest.mark.cuda
def test_what_is_built_on_cuda_answers_as_what_is_built_on_a_cpu(context: BuildContext, source: Source) -> None:
    """Scores of 64 frames differ by less than 0.02 on average."""
    given = np.random.default_rng(3).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    for chain in (
        [{"prune": 0.5}],
        [{"prune": 0.5}, {"recover": {"steps": 4, "batch_size": 8}}],
        [{"quantize": "int8"}],
    ):
        entries = [parse(entry) for entry in chain]
        scores = []
        for device in ("cpu", "cuda"):
            built = build.build(device, source, entries, replace(context, device=device))
            logits, _ = onnxruntime.load(built, "cpu", 1).predict(given)
            scores.append(p_fake(logits[:, 0], logits[:, 1]))
        assert float(np.abs(scores[0] - scores[1]).mean()) < 0.02


def test_common_prefixes_are_built_once(context: BuildContext, source: Source) -> None:
    """Two chains that begin alike share their first links."""
    prefix = [{"prune": 0.5}, {"recover": {"steps": 1, "batch_size": 8, "learning_rate": 1e-5}}]
    titles: list[str] = []

    def listen(event: Event) -> None:
        if event.done == 0 and event.unit == "step":
            titles.append(event.work)

    listening = replace(context, on_event=listen)
    for last in ({"cast": "fp16"}, {"quantize": "int8"}):
        build.build("x", source, [parse(entry) for entry in [*prefix, last]], listening)
    assert len(titles) == 5, titles  # weights, prune, recover, cast; then quantize


def test_failing_step_leaves_nothing_half_made(
    context: BuildContext, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the failure the folder holds no temporary files, and the next build works."""

    def half(*_: Any) -> None:
        raise RuntimeError("broke in the middle")

    monkeypatch.setattr(steps.find("cast"), "apply", half)
    with pytest.raises(RuntimeError, match="middle"):
        build.build("x", source, [parse({"cast": "fp16"})], context)
    assert not list(context.folder.glob(".tmp*"))
    monkeypatch.undo()
    assert build.build("baseline", source, [], context).file.exists()


@pytest.mark.parametrize(
    ("chain", "lacking", "message"),
    [
        ([{"quantize": "int8"}, {"prune": 0.5}], "train", "works on torch models, but after quantize"),
        ([{"cast": "fp16"}, {"cast": "bf16"}], None, "a second cast in one chain"),
        (["recover"], None, "nothing to do where no prune or quantize came before"),
        ([{"quantize": "int8"}], "calibration", "needs calibration frames"),
        ([{"prune": 0.5}, "recover"], "train", "needs train frames"),
        ([{"quantize": {"weights": "int4"}}], "calibration", "what rounding the weights costs"),
        ([{"prune": {"structure": "2of4"}}], "calibration", "which weights can go"),
        ([{"prune": {"amount": 0.5, "ranking": "magnitude"}}], "calibration", "repairs what stays"),
        ([{"prune": 0.5}, {"recover": {"batch_size": 99}}], None, "16 train frames are less than one batch of 99"),
    ],
)
def test_chains_that_cannot_work_are_refused(
    chain: Sequence[object], lacking: Split | None, message: str, context: BuildContext
) -> None:
    parsed = [parse(entry) for entry in chain]
    with pytest.raises(UserError, match=message):
        check_chain(parsed, {split: frames for split, frames in context.frames.items() if split != lacking})


def test_all_that_a_chain_lacks_is_said_at_once(context: BuildContext) -> None:
    chain = [parse(entry) for entry in ({"prune": 0.5}, {"recover": {"batch_size": 99}}, {"quantize": "int8"})]
    problems = frame_problems(chain, {"train": context.frames["train"]})
    assert [(index, problem.partition(" ")[0]) for index, problem in problems] == [
        (0, "prune:"),
        (1, "recover:"),
        (2, "quantize:"),
    ]


def test_pruning_in_rounds_is_allowed() -> None:
    check_chain([parse(entry) for entry in ({"prune": 0.3}, "recover", {"prune": 0.3}, "recover")])
    check_chain([parse(entry) for entry in ({"prune": 0.5}, {"prune": {"structure": "2of4"}})])


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("prnue", "did you mean 'prune'"),
        ({"prune": 1.5}, "of at most 0.999"),
        ({"prune": "half"}, "expected a number, found"),
        ({"prune": True}, "expected a number, found"),
        ({"cast": "fp8"}, "fp16"),
        ({"prune": 0.5, "recover": None}, "a step is a name or one"),
        (3, "a step is a name or one"),
        ("prune", "amount"),
        ({"recover": "1e2"}, "write all digits"),
        ({"recover": {"minutes": "2E4"}}, r"write 2\.0e\+4"),
        (
            {"prune": {"amout": 0.5}},
            r"^prune\.amout: step 'prune' has no setting 'amout' \(did you mean 'amount'\?\); .*$",
        ),
        ({"cast": None}, "needs a value, as in `cast: fp16`"),
        ({"prune": {"amount": None}}, "found null"),
    ],
)
def test_bad_entries_are_refused(written: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(written)


@pytest.mark.parametrize(
    "entry",
    [
        {"quantize": {"float": "*.se.*"}},
        {"quantize": {"float": "blocks.[0-2]", "frames": 64}},
        {"quantize": {"weights": "int8", "float": ["conv_stem", "blocks.*.se.*"]}},
        {"prune": {"structure": "2of4"}},
    ],
)
def test_steps_are_spelled_so_that_yaml_reads_them(entry: dict[str, Any]) -> None:
    assert parse(yaml.safe_load(parse(entry).text)) == parse(entry)


def test_no_module_but_its_own_knows_a_step_by_name() -> None:
    """Estimates, notes and the rest ask the step, so that a new one touches no other file."""
    others = [file for file in (ROOT / "bench").rglob("*.py") if "variants/steps" not in file.as_posix()]
    assert len(others) > 100
    for file in others:
        constants = [
            node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Constant)
        ]
        named = [(node.lineno, node.value) for node in constants if node.value in steps.names()]
        assert not named, (file, named)


def test_detector_of_every_artifact_survives_reading(common: Build) -> None:
    for name in ON_DETECTORS:
        built = common(entry(name))
        if built.kind == "torch":
            frames = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
            first, second = (safetensors.load_torch(built.file)(frames)[0] for _ in range(2))
            assert torch.equal(first, second)
