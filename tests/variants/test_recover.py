"""Recover: what is kept out and watched, which weights are kept, when it ends, and what it says of itself."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from twin import twin

from bench.detectors import learning
from bench.detectors.detector import Detector
from bench.errors import UserError
from bench.records import Event, Frame, InputSpec
from bench.variants import checkpoints
from bench.variants.chain import parse
from bench.variants.steps import StepContext, recover
from bench.variants.steps.recover import distillation, optimizing, rates, training
from tests.support import tiny
from tests.support.step_work import frames, work


@pytest.fixture
def teacher(tiny_family: Any) -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


@pytest.fixture
def student(teacher: Detector) -> Detector:
    """The teacher with a tenth of noise on its weights."""
    noisy = copy.deepcopy(teacher)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in noisy.parameters():
            weight.mul_(1 + 0.1 * torch.randn(weight.shape, generator=generator))
    return noisy


REPAIRED = parse({"prune": 0.5})


def labelled(folder: Path, teacher: Detector, count: int = 200, on_event: Any = lambda event: None) -> StepContext:
    """Train frames of which every four are of one source, every other source fake, after a repaired prune."""
    surroundings = work(folder, teacher, count)
    frames = tuple(
        replace(frame, source=f"video {index // 4}", label=index // 4 % 2)
        for index, frame in enumerate(surroundings.frames["train"].frames)
    )
    return replace(
        surroundings,
        frames={"train": replace(surroundings.frames["train"], frames=frames)},
        earlier=(REPAIRED,),
        on_event=on_event,
    )


def recovered(
    student: Detector, surroundings: StepContext, **settings: Any
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights after recovery, and what it says of itself."""
    fixed = {"steps": 10, "batch_size": 8, "learning_rate": 1e-4, "recalibrate": False}
    chosen = recover.Settings(**{**fixed, **settings})
    weights = recover.apply(copy.deepcopy(student), chosen, surroundings).state_dict()
    return weights, json.loads((surroundings.scratch / recover.RECORD).read_text())


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


# ----------------------------------------------------------------------------------------- errors
def test_a_network_has_no_error_against_itself(teacher: Detector) -> None:
    with torch.no_grad():
        assert float(distillation.distillation_loss(teacher, copy.deepcopy(teacher), frames(6, 32))) == 0


def test_every_part_of_the_answer_counts(teacher: Detector) -> None:
    margin, cam = torch.randn(8), torch.randn(8, 3, 3)
    assert float(distillation.answer_error(margin + 1, cam, margin, cam)) == pytest.approx(1 / float(margin.var()))
    assert float(distillation.answer_error(margin, cam + 1, margin, cam)) == pytest.approx(1 / float(cam.var()))


def test_a_teacher_that_always_says_the_same_weighs_no_more_than_a_floor() -> None:
    margin, cam = torch.zeros(8), torch.zeros(8, 3, 3)
    assert float(distillation.answer_error(margin + 1, cam, margin, cam)) == pytest.approx(10)


def test_features_count_wherever_the_widths_agree(teacher: Detector) -> None:
    """Silencing what the head cannot see changes the features alone; narrower networks are compared without."""
    with torch.no_grad():
        both = copy.deepcopy(teacher), copy.deepcopy(teacher)
        for detector in both:
            detector.head.weight[:, 0] = 0
        both[0].backbone[2][1].weight[0] *= 2  # type: ignore[index]
        assert float(distillation.distillation_loss(*both, frames(6, 32))) > 0.001
    narrow = copy.deepcopy(teacher)
    stem, last = (nn.Conv2d(inputs, outputs, 3, stride=2, padding=1) for inputs, outputs in ((3, 16), (16, 64)))
    narrow.backbone = nn.Sequential(
        nn.Sequential(stem, nn.BatchNorm2d(16), nn.SiLU()),
        tiny.Block(16),
        nn.Sequential(last, nn.BatchNorm2d(64), nn.SiLU()),
    )
    assert distillation.distillation_loss(narrow, teacher, frames(6, 32)).isfinite()


# ------------------------------------------------------------------------------------- step sizes
def test_rescaled_channels_learn_like_the_others(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    """With steps of one size this twin ends at half its first error, where the network itself ends at a fiftieth."""
    _, record = recovered(twin(student), labelled(tmp_path, teacher), steps=20, learning_rate=1e-3)
    error = record["error"]
    assert error["after"] < 0.1 * error["before"]


def test_step_sizes_follow_rows_and_columns() -> None:
    layer = nn.Linear(6, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.outer(torch.tensor([1.0, 2, 4, 8]), torch.tensor([1.0, 3, 9, 27, 81, 243])))
    sizes = dict(zip(("weight", "bias"), (size for _, size in distillation.step_sizes(layer)), strict=True))
    ratio = sizes["weight"] / layer.weight.detach()
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))
    assert float(sizes["weight"].log().mean()) == pytest.approx(0, abs=1e-5)
    assert sizes["bias"].eq(1).all()


def test_step_sizes_are_there_for_channels_that_are_silent() -> None:
    layer = nn.Conv2d(4, 4, 3)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.weight[:, 2] = 0
    assert all(size.isfinite().all() and (size > 0).all() for _, size in distillation.step_sizes(layer))


# ------------------------------------------------------------------------------------- held out
def test_few_held_out_frames_are_judged_by_varied_copies_too(teacher: Detector, tmp_path: Path) -> None:
    """Twenty frames come six times, as they are first; their labels come as often."""
    lower, judged = learning.lowered("cpu", "fp32"), {}
    for augment in (True, False):
        surroundings = labelled(tmp_path, teacher)
        few = surroundings.frames["train"].frames[:20]
        surroundings = replace(surroundings, scratch=tmp_path / str(augment))
        surroundings.scratch.mkdir()
        settings = recover.Settings(batch_size=20, augment=augment)
        judged[augment] = distillation.answered(teacher, ("held-out", few), surroundings, settings, lower)
    several, once = judged[True], judged[False]
    assert (len(several.batches), len(once.batches)) == (6, 1)
    assert torch.equal(several.batches[0], once.batches[0])
    assert not torch.equal(several.batches[1], several.batches[2])
    assert torch.equal(several.logit_diffs[:20], once.logit_diffs)
    assert several.labels == 6 * (once.labels or ())


def test_held_out_frames_share_no_source_with_the_others(teacher: Detector, tmp_path: Path) -> None:
    everything = labelled(tmp_path, teacher).frames["train"].frames
    learned, held = distillation.held_out(everything, seed=0)
    assert 16 <= len(held) <= 20
    assert sorted(learned + held, key=everything.index) == list(everything)
    assert not {frame.source for frame in learned} & {frame.source for frame in held}
    assert distillation.held_out(everything, seed=0) == (learned, held)
    assert distillation.held_out(everything, seed=1)[1] != held


@pytest.mark.parametrize(("count", "sources"), [(100, 100), (400, 2)])
def test_where_a_tenth_tells_nothing_all_frames_are_learned_from(count: int, sources: int) -> None:
    frames = [Frame(str(index), Path(), None, str(index % sources), "") for index in range(count)]
    assert distillation.held_out(frames, seed=0) == (frames, [])


# ------------------------------------------------------------------------------- which weights
def given_errors(monkeypatch: pytest.MonkeyPatch, errors: Iterator[float]) -> None:
    monkeypatch.setattr(training, "_is_evaluated", lambda *_: True)
    monkeypatch.setattr(distillation, "evaluate", lambda *_: (next(errors), None))


def test_the_best_weights_are_kept_and_the_end_is_early_where_nothing_was_won(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given errors that fall and then rise, which they may until the rate has fallen; and errors that only rise."""
    surroundings = labelled(tmp_path, teacher)
    given_errors(monkeypatch, iter([5.0, *[6.0] * 20]))
    _, record = recovered(student, surroundings)
    assert (record["steps"], record["steps_wanted"], record["ended"]) == (8, 10, "no better on held-out frames")
    given_errors(monkeypatch, iter([5.0, 4.0, 3.0, *[6.0] * 20]))
    weights, record = recovered(student, surroundings)
    assert record["judged_on"] == "20 held-out frames"
    assert (record["best_step"], record["error"]) == (2, {"before": 5.0, "after": 3.0})
    assert (record["steps"], record["ended"]) == (10, "all steps are done")

    seen: list[dict[str, Tensor]] = []
    given_errors(monkeypatch, iter([9.0 - step for step in range(20)]))
    weights_of = training._weights

    def watched(model: Detector) -> dict[str, Tensor]:
        seen.append(weights_of(model))
        return seen[-1]

    monkeypatch.setattr(training, "_weights", watched)
    recovered(student, surroundings)
    assert same(weights, seen[2]), "the start is seen first, then each step"


def test_what_gets_no_better_stays_as_it_was(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_errors(monkeypatch, iter([1.0, *[2.0] * 20]))
    weights, record = recovered(student, labelled(tmp_path, teacher))
    assert same(weights, student.state_dict())
    assert record["best_step"] == 0


def test_training_lowers_the_error_on_frames_it_never_saw(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    _, record = recovered(student, labelled(tmp_path, teacher), steps=20, learning_rate=1e-3)
    error = record["error"]
    assert error["after"] < 0.5 * error["before"]


@pytest.mark.parametrize("steps", [4, 10])
def test_of_a_training_that_diverges_the_weights_before_it_are_kept(
    steps: int, teacher: Detector, student: Detector, tmp_path: Path
) -> None:
    weights, record = recovered(student, labelled(tmp_path, teacher), steps=steps, learning_rate=0.9, precision="fp32")
    assert re.fullmatch(r".*(diverged|became).*learning_rate below 0\.9", record["ended"])
    assert record["best_step"] == 0
    assert record["error"]["after"] == record["error"]["before"]
    assert same(weights, student.state_dict())


def test_a_loss_that_is_no_number_ends_the_training(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was best until then is kept."""
    losses = iter([1.0, 1.0, math.nan])

    def scaled(*given: Any) -> Tensor:
        return distillation.distillation_loss(*given) * next(losses)

    monkeypatch.setattr(training, "distillation_loss", scaled)
    weights, record = recovered(student, labelled(tmp_path, teacher), steps=10, learning_rate=1e-5)
    assert record["steps"] == 3
    assert record["ended"].startswith("the loss became nan at step 3; use a learning_rate below")
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_where_fewer_bits_may_be_the_reason_more_of_them_are_advised(
    precision: Any, teacher: Detector, student: Detector, tmp_path: Path
) -> None:
    advice = f"learning_rate below 0.9, or set `precision: fp32` (it was {precision})"
    _, record = recovered(student, labelled(tmp_path, teacher), learning_rate=0.9, precision=precision)
    assert record["ended"].endswith(advice)


def test_activations_beyond_fp16_are_told_before_any_training(
    teacher: Detector, student: Detector, tmp_path: Path
) -> None:
    """What fp32 computes without trouble may have no number in fp16."""
    with torch.no_grad():
        for detector in (teacher, student):
            detector.backbone[0][1].weight.mul_(1e6)  # type: ignore[index]
            detector.backbone[1].project[1].weight.mul_(1e6)  # type: ignore[index]
    surroundings = labelled(tmp_path, teacher)
    with pytest.raises(UserError, match=r"before any training; .* or set `precision: fp32` \(it was fp16\)"):
        recovered(student, surroundings, steps=1, precision="fp16")
    recovered(student, surroundings, steps=1, precision="fp32")


def test_what_is_close_enough_is_left_alone(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    weights, record = recovered(teacher, labelled(tmp_path, teacher))
    assert same(weights, teacher.state_dict())
    assert (record["steps"], record["ended"]) == (
        0,
        "it answers as the uncompressed detector does on held-out frames already",
    )
    _, record = recovered(student, labelled(tmp_path, teacher), enough=0.1, steps=40, learning_rate=1e-3)
    assert 0 < record["steps"] < 40
    assert record["error"]["after"] < 0.1


def test_few_frames_are_all_learned_from_and_judged_by(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    _, record = recovered(student, labelled(tmp_path, teacher, 40), steps=20, learning_rate=1e-3)
    assert record["judged_on"] == "40 train frames"
    assert record["error"]["after"] < 0.5 * record["error"]["before"]


# ------------------------------------------------------------------------------- the learning rate
def test_half_the_rate_at_which_the_error_doubles_is_taken(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the errors before any step and after each of the range test, of which the fourth is too high."""
    given = iter([1.0, 1.0, 0.9, 1.7, 1.9, *[0.5] * 30])
    monkeypatch.setattr(distillation, "evaluate", lambda *_: (next(given), None))
    surroundings, settings = labelled(tmp_path, teacher), recover.Settings(batch_size=8)
    learned, held = distillation.held_out(surroundings.frames["train"].frames, 0)
    means = optimizing.tools(copy.deepcopy(student), ("held-out", held), settings, "fp32", surroundings)
    rate = rates.range_test(means, learned, settings, surroundings)
    assert rate == pytest.approx(0.5 * 1e-5 * 300 ** (3 / 19))
    assert same(means.model.state_dict(), student.state_dict()), "it leaves no trace"
    assert not means.optimizer.state
    assert all(torch.equal(*pair) for pair in zip(means.average.weights, student.parameters(), strict=True))


def test_the_rate_that_is_found_brings_the_network_closer(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    _, record = recovered(student, labelled(tmp_path, teacher), steps=20, learning_rate="auto")
    assert 1e-5 < record["learning_rate"] <= 1.5e-3
    assert record["error"]["after"] < 0.7 * record["error"]["before"]


def test_a_range_test_that_was_killed_goes_on(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds the rate that it would have found, and repeats no step."""
    monkeypatch.setattr(checkpoints, "INTERVAL_SECONDS", 0.0)
    settings, taken, write = recover.Settings(batch_size=8), list[str](), checkpoints.write

    def find(name: str) -> float:
        (tmp_path / name).mkdir(exist_ok=True)
        surroundings = labelled(tmp_path / name, teacher)
        learned, held = distillation.held_out(surroundings.frames["train"].frames, 0)
        means = optimizing.tools(copy.deepcopy(student), ("held-out", held), settings, "fp32", surroundings)
        return rates.range_test(means, learned, settings, surroundings)

    def write_and_die(surroundings: StepContext, part: str, state: Any) -> None:
        write(surroundings, part, state)
        taken.append(part)
        if taken.count("finding the learning rate") == 4:
            raise KeyboardInterrupt

    undisturbed = find("undisturbed")
    monkeypatch.setattr(checkpoints, "write", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        find("killed")
    steps = optimizing.optimized
    done: list[float] = []

    def noted(*given: Any) -> float:
        done.append(given[2])
        return steps(*given)

    monkeypatch.setattr(rates, "optimized", noted)
    assert find("killed") == undisturbed
    assert done[0] == pytest.approx(1e-5 * 300 ** (4 / 19))


# --------------------------------------------------------------------------------------- averaging
def test_an_average_follows_the_weights_and_takes_their_place(teacher: Detector) -> None:
    average = learning.Average(teacher)
    first = [weight.detach().clone() for weight in teacher.parameters()]
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(1.0)
    average.add(teacher, 0.25)
    with average.in_place_of(teacher):
        torch.testing.assert_close([*teacher.parameters()], [weight + 0.25 for weight in first])
    torch.testing.assert_close([*teacher.parameters()], [weight + 1.0 for weight in first])


# ------------------------------------------------------------------------------------------- time
def test_a_limit_in_minutes_ends_the_training_and_is_told(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of steps follows the clock, and the record says that it was cut short."""
    surroundings = labelled(tmp_path, teacher)
    free, record = recovered(student, surroundings, steps=12)
    roomy, roomy_record = recovered(student, surroundings, steps=12, minutes=60)
    assert same(free, roomy), "a limit that does not bite changes nothing"
    assert roomy_record == record

    clock = itertools.count(step=6.0)  # whoever looks at it finds that six seconds have passed
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    _, record = recovered(student, surroundings, steps=100, minutes=3, augment=False)
    assert 10 <= record["steps"] < 30
    assert record["ended"] == "no more fitted into 3 minutes"
    assert record["cut_short"]
    assert not roomy_record["cut_short"]


def test_a_cap_that_bit_is_told_even_where_the_training_ended_before_it(
    teacher: Detector, student: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate falls faster from then on: the weights are others than without a cap."""
    given_errors(monkeypatch, iter([5.0, *[6.0] * 99]))
    clock = itertools.count(step=6.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    _, record = recovered(student, labelled(tmp_path, teacher), steps=100, minutes=3, augment=False)
    assert record["ended"] == "no better on held-out frames"
    assert record["cut_short"]


def test_no_time_at_all_is_one_step(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    assert recovered(student, labelled(tmp_path, teacher), minutes=1e-9)[1]["steps"] == 1


# ------------------------------------------------------------------------------------- batch norm
@pytest.mark.parametrize(("setting", "measured"), [("auto", False), (True, True), (False, False)])
def test_statistics_that_fit_are_measured_again_only_where_that_is_asked_for(
    setting: Any, measured: bool, teacher: Detector, tmp_path: Path
) -> None:
    """Without noise the teacher's are the best there are."""
    nearly = copy.deepcopy(teacher)
    with torch.no_grad():
        nearly.head.bias.add_(torch.tensor([0.0, 1.0]))
    assert _measured_again(nearly, setting, labelled(tmp_path, teacher)) is measured


@pytest.mark.parametrize(("setting", "measured"), [("auto", True), (False, False)])
def test_statistics_that_do_not_fit_are_measured_again(
    setting: Any, measured: bool, teacher: Detector, tmp_path: Path
) -> None:
    shifted = copy.deepcopy(teacher)
    for module in shifted.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.add_(1.0)
    assert _measured_again(shifted, setting, labelled(tmp_path, teacher)) is measured


def _measured_again(student: Detector, setting: Any, surroundings: StepContext) -> bool:
    """Whether every batch norm has other statistics after `recover`; the record says the same."""
    weights, record = recovered(student, surroundings, steps=1, learning_rate=1e-9, recalibrate=setting)
    means = [name for name in weights if name.endswith("running_mean")]
    changed = {not torch.equal(weights[name], student.get_buffer(name)) for name in means}
    assert len(changed) == 1
    assert record["norms_measured"] is changed.copy().pop()
    if setting is True:
        _, untouched = recovered(student, surroundings, steps=1, learning_rate=1e-9)
        assert record["error"]["before"] == pytest.approx(untouched["error"]["before"])
    return changed.pop()


# -------------------------------------------------------------------------------- what it tells
def test_progress_tells_the_auc_of_held_out_frames(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    events: list[Event] = []
    recovered(student, labelled(tmp_path, teacher, on_event=events.append))
    assert "ROC AUC 0." in events[-1].note or "ROC AUC 1." in events[-1].note
    assert events[-1].done == events[-1].total == 10


def test_bf16_is_close_to_fp32_and_told(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    surroundings = labelled(tmp_path, teacher)
    errors = []
    for precision in ("fp32", "bf16"):
        weights, record = recovered(student, surroundings, steps=1, precision=precision)
        assert record["precision"] == precision
        assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in weights.values())
        errors.append(record["error"]["before"])
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
    assert errors[1] != errors[0]


@pytest.mark.slow
def test_fp16_learns_from_its_first_step_on(teacher: Detector, student: Detector, tmp_path: Path) -> None:
    """Gradients that do not fit cost no step: they are scaled down before the first."""
    _, record = recovered(student, labelled(tmp_path, teacher), steps=40, learning_rate=1e-3, precision="fp16")
    assert record["best_step"] > 0
    assert record["error"]["after"] < 0.5 * record["error"]["before"]


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_on_cuda(precision: str, teacher: Detector, student: Detector, tmp_path: Path) -> None:
    surroundings = replace(labelled(tmp_path, teacher), device="cuda")
    _, record = recovered(student, surroundings, steps=40, learning_rate=1e-3, precision=precision)
    assert record["error"]["after"] < 0.5 * record["error"]["before"]


def test_frames_are_drawn_in_new_orders_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches are asked for, only those are drawn that are read, and those left out are the first."""
    monkeypatch.setattr(distillation, "_DRAWN_AT_ONCE", 3)
    seen: list[int] = []

    def read(asked: Sequence[Frame], spec: InputSpec, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(asked), batch_size):
            indices = [int(frame.path) for frame in asked[start : start + batch_size]]
            seen.extend(indices)
            yield np.zeros((len(indices), 3, 1, 1), np.uint8)

    surroundings = replace(work(tmp_path, count=10), read=read)
    frames = surroundings.frames["train"].frames
    rng = np.random.default_rng(7)
    expected = np.concatenate([rng.permutation(10) for _ in range(4)]).tolist()
    endless = distillation.shuffled(surroundings, frames, 4, 10**12, seed=7)
    assert [len(batch) for batch in itertools.islice(endless, 8)] == [4] * 8
    assert seen == expected[:32]
    seen.clear()
    assert len(list(distillation.shuffled(surroundings, frames, 4, 8, seed=7, skip=3))) == 5
    assert seen == expected[12:32]
