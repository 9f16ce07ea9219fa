"""One contract over every step there is: a new file in `bench/variants/steps/` is tested without a line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench import runtimes
from bench.detectors import artifact
from bench.errors import UserError
from bench.records import Built, Event, Split
from bench.results.score import p_fake
from bench.runtimes import onnxruntime
from bench.variants import build, steps
from tests.conftest import Build

# The smallest settings under which a step does something; one that needs none is not listed.
SETTINGS: dict[str, Any] = {
    "cast": "fp16",
    "prune": 0.5,
    "recover": {"steps": 2, "batch_size": 8, "learning_rate": 1e-5},
    "quantize": "int8",
}


def entry(name: str) -> object:
    return {name: SETTINGS[name]} if name in SETTINGS else name


def predicted(built: Built) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and CAMs of fixed frames, by the runtime that executes the artifact as it is, without an export."""
    frames = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    runtime = runtimes.find("pytorch" if built.kind == "torch" else "onnxruntime")
    return runtime.load(built, "cpu", 1).predict(frames)


@pytest.mark.parametrize("name", steps.names())
def test_every_step(name: str, shop: build.Workshop, source: build.Source) -> None:
    chain = [steps.parse(entry(one)) for one in (*getattr(steps.find(name), "AFTER", ())[:1], name)]
    steps.check(chain, shop.frames)
    baseline = build.build("baseline", source, [], shop)
    events: list[Event] = []
    parent = build.build("parent", source, chain[:-1], shop)
    before = parent.file.read_bytes()
    built = build.build(name, source, chain, replace(shop, on_event=events.append))
    assert parent.file.read_bytes() == before
    logits, cam = predicted(built)

    margin = logits[:, 1] - logits[:, 0]
    assert np.ptp(margin) > 1e-3, "a constant network proves nothing"
    np.testing.assert_allclose(cam.mean((1, 2)) + built.margin_bias, margin, atol=1e-4, rtol=1e-4)
    assert built.id != baseline.id
    assert events, "progress must be told"
    assert all(0 <= event.done <= event.total for event in events)
    assert events[-1].done == events[-1].total
    assert not list(shop.folder.glob(".tmp*"))
    assert not list((shop.folder / ".scratch").iterdir())


@pytest.mark.parametrize("name", steps.names())
def test_every_step_is_deterministic(
    name: str, shop: build.Workshop, common_shop: build.Workshop, source: build.Source
) -> None:
    chain = [steps.parse(entry(name))]
    files = [build.build(name, source, chain, one).file for one in (shop, common_shop)]
    assert files[0] != files[1]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", steps.names())
def test_every_step_closes_its_settings(name: str) -> None:
    with pytest.raises(UserError, match="has no setting 'no_such_setting'"):
        steps.parse({name: {"no_such_setting": 1}})
    step = steps.find(name)
    assert step.MAIN is None or step.MAIN in step.Settings.model_fields


def test_ids_cover_settings_frames_seed_and_order(shop: build.Workshop, source: build.Source) -> None:
    def last(*entries: object, shop: build.Workshop = shop, source: build.Source = source) -> str:
        return build.ids(source, [steps.parse(one) for one in entries], shop)[-1]

    other = shop.frames["test"]
    found = [
        last({"prune": 0.5}),
        last({"prune": 0.4}),
        last({"prune": 0.5}, "recover", shop=replace(shop, seed=1)),
        last({"prune": 0.5}, source=replace(source, digest="1" * 64)),
        last({"prune": 0.5}, source=replace(source, preprocessing=replace(source.preprocessing, wavelet="none"))),
        last({"prune": 0.5}, "recover"),
        last({"prune": 0.5}, "recover", shop=replace(shop, frames={**shop.frames, "train": other})),
        last({"quantize": "int8"}),
        last({"quantize": "int8"}, shop=replace(shop, frames={**shop.frames, "calibration": other})),
    ]
    assert len(set(found)) == len(found)
    assert last({"quantize": "int8"}) == last({"quantize": {"dtype": "int8"}})
    assert last({"prune": 0.5}) == last({"prune": 0.5}, shop=replace(shop, seed=1)), "prune draws nothing"
    assert last({"quantize": "int8"}) != last({"quantize": "int8"}, shop=replace(shop, decoder={"pillow": "0"}))
    assert last({"quantize": "int8"}) == last(
        {"quantize": "int8"}, shop=replace(shop, frames={**shop.frames, "train": other})
    ), "frames that a step does not read must not change its id"


def test_the_kind_of_device_is_part_of_the_id_where_it_computes(
    shop: build.Workshop, source: build.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was built on a CPU keeps its id."""

    def last(*entries: object, device: str) -> str:
        return build.ids(source, [steps.parse(one) for one in entries], replace(shop, device=device))[-1]

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
def test_what_is_built_on_cuda_answers_as_what_is_built_on_a_cpu(shop: build.Workshop, source: build.Source) -> None:
    given = np.random.default_rng(3).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8)
    for chain in (
        [{"prune": 0.5}],
        [{"prune": 0.5}, {"recover": {"steps": 4, "batch_size": 8}}],
        [{"quantize": "int8"}],
    ):
        entries = [steps.parse(one) for one in chain]
        scores = []
        for device in ("cpu", "cuda"):
            built = build.build(device, source, entries, replace(shop, device=device))
            logits, _ = onnxruntime.load(built, "cpu", 1).predict(given)
            scores.append(p_fake(logits[:, 0], logits[:, 1]))
        assert float(np.abs(scores[0] - scores[1]).mean()) < 0.02


def test_common_prefixes_are_built_once(shop: build.Workshop, source: build.Source) -> None:
    prefix = [{"prune": 0.5}, {"recover": {"steps": 1, "batch_size": 8, "learning_rate": 1e-5}}]
    titles: list[str] = []

    def listen(event: Event) -> None:
        if event.done == 0 and event.unit == "step":
            titles.append(event.work)

    listening = replace(shop, on_event=listen)
    for last in ({"cast": "fp16"}, {"quantize": "int8"}):
        build.build("x", source, [steps.parse(one) for one in [*prefix, last]], listening)
    assert len(titles) == 5, titles  # weights, prune, recover, cast; then quantize


def test_failing_step_leaves_nothing_half_made(
    shop: build.Workshop, source: build.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(*_: Any) -> None:
        raise RuntimeError("broke in the middle")

    monkeypatch.setattr(steps.find("cast"), "apply", half)
    with pytest.raises(RuntimeError, match="middle"):
        build.build("x", source, [steps.parse({"cast": "fp16"})], shop)
    assert not list(shop.folder.glob(".tmp*"))
    monkeypatch.undo()
    assert build.build("baseline", source, [], shop).file.exists()


@pytest.mark.parametrize(
    ("chain", "lacking", "said"),
    [
        ([{"quantize": "int8"}, {"prune": 0.5}], "train", "works on torch models, but after quantize"),
        ([{"cast": "fp16"}, {"cast": "bf16"}], None, "a second cast in one chain"),
        (["recover"], None, "nothing to do where no prune came before"),
        ([{"quantize": "int8"}], "calibration", "needs calibration frames"),
        ([{"prune": 0.5}, "recover"], "train", "needs train frames"),
        ([{"quantize": {"weights": "int4"}}], "calibration", "the rounding of weights may cost"),
        ([{"prune": {"structure": "2of4"}}], "calibration", "which weights can go"),
        ([{"prune": {"amount": 0.5, "ranking": "magnitude"}}], "calibration", "repairs what stays"),
        ([{"prune": 0.5}, {"recover": {"batch_size": 99}}], None, "16 train frames are less than one batch of 99"),
    ],
)
def test_chains_that_cannot_work_are_refused(
    chain: Sequence[object], lacking: Split | None, said: str, shop: build.Workshop
) -> None:
    parsed = [steps.parse(one) for one in chain]
    with pytest.raises(UserError, match=said):
        steps.check(parsed, {split: frames for split, frames in shop.frames.items() if split != lacking})


def test_all_that_a_chain_lacks_is_said_at_once(shop: build.Workshop) -> None:
    chain = [steps.parse(one) for one in ({"prune": 0.5}, {"recover": {"batch_size": 99}}, {"quantize": "int8"})]
    problems = steps.frame_problems(chain, {"train": shop.frames["train"]})
    assert [(place, said.partition(" ")[0]) for place, said in problems] == [
        (0, "prune:"),
        (1, "recover:"),
        (2, "quantize:"),
    ]


def test_pruning_in_rounds_is_allowed() -> None:
    steps.check_order([steps.parse(one) for one in ({"prune": 0.3}, "recover", {"prune": 0.3}, "recover")])
    steps.check_order([steps.parse(one) for one in ({"prune": 0.5}, {"prune": {"structure": "2of4"}})])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("prnue", "did you mean 'prune'"),
        ({"prune": 1.5}, "less than or equal to 0.999"),
        ({"prune": "half"}, "valid number"),
        ({"prune": True}, "valid number"),
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
        ({"cast": None}, "needs a value, as in `cast: …`"),
        ({"prune": {"amount": None}}, "found null"),
    ],
)
def test_bad_entries_are_refused(found: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        steps.parse(found)


def test_detector_of_every_artifact_survives_reading(common: Build) -> None:
    for name in steps.names():
        built = common(entry(name))
        if built.kind == "torch":
            frames = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
            first, second = (artifact.load_torch(built.file)(frames)[0] for _ in range(2))
            assert torch.equal(first, second)
