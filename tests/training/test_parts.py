"""What trainings are made of, each part against its definition or an independent implementation."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn import metrics

from bench import datasets, detectors
from bench.commands.train import faces, run_folder
from bench.commands.train.judging import AtThreshold, p_fake_of
from bench.datasets.face_blends import blended_face
from bench.detectors import families, starting
from bench.files import temporary_name
from bench.records import Conventions, Frame, InputSpec, Preprocessing
from bench.records.face_template import POINTS
from bench.training import augmentation, losses, rates, sampling, selection
from bench.training.augment_settings import AugmentSettings
from bench.training.sampling import Plan
from bench.training.settings import MapSettings, OptimizerSettings, Recipe, ScheduleSettings
from tests.support import tiny

SEED_003 = {"accuracy": 0.10, "precision": 0.05, "recall": 0.70, "f1": 0.10, "auc": 0.05}


def picture(size: int = 48, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 256, (6, 6, 3), np.uint8)
    return np.kron(low, np.ones((size // 6, size // 6, 1), np.uint8)).astype(np.uint8)


# ------------------------------------------------------------------------------------ losses
def test_losses_are_those_of_torch() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 2), torch.randint(0, 2, (12,))
    two = losses.of_classes(logits, labels, "two_class", 0.1, (1.0, 1.0))
    torch.testing.assert_close(two, F.cross_entropy(logits, labels, label_smoothing=0.1))
    single = losses.of_classes(logits, labels, "one_logit", 0.1, (1.0, 1.0))
    torch.testing.assert_close(single, two)
    weighted = losses.of_classes(logits, labels, "two_class", 0.0, (0.5, 3.0))
    torch.testing.assert_close(weighted, F.cross_entropy(logits, labels, weight=torch.tensor([0.5, 3.0])))


def test_the_loss_of_maps_is_least_on_what_is_forged() -> None:
    masks = torch.zeros(2, 8, 8)
    masks[:, :4, :4] = 1
    labels, masked = torch.tensor([1, 1]), torch.tensor([True, True])
    good, bad = torch.full((2, 4, 4), -3.0), torch.full((2, 4, 4), -3.0)
    good[:, :2, :2], bad[:, 2:, 2:] = 5, 5
    settings = MapSettings()
    at, off = (float(losses.of_maps(maps, masks, labels, masked, settings)) for maps in (good, bad))
    assert at < 0.1
    assert off > 0.5
    assert float(losses.of_maps(bad, masks, labels, ~masked, settings)) == 0
    assert float(losses.of_maps(bad, masks, torch.tensor([0, 0]), masked, settings)) > 0


def test_one_logit_stays_one(tiny_family: Any) -> None:
    detector = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))
    frames = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    before = detector(frames).logits
    starting.keep_one_logit(detector)
    after = detector(frames).logits
    torch.testing.assert_close(after[:, 1], before[:, 1] - before[:, 0], atol=1e-5, rtol=1e-5)
    optimizer = torch.optim.AdamW(detector.parameters(), 0.1)
    losses.of_classes(detector(frames).logits, torch.tensor([0, 1, 0, 1]), "two_class", 0, (1, 1)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert not detector(frames).logits[:, 0].any()


# ------------------------------------------------------------------------------------ detectors
@pytest.mark.parametrize(
    "architecture", [pytest.param("efficientnet_b0", marks=pytest.mark.slow), "timm:resnet18", "ganfingerprint"]
)
def test_checkpoints_are_read_as_they_are(architecture: str, tmp_path: Path) -> None:
    from bench.training.resuming import write_tensors

    preprocessing = Preprocessing(size=64)
    torch.manual_seed(0)
    detector = starting.untrained(architecture, None, preprocessing)
    torch.nn.init.normal_(detector.logit_layers()[0].weight)  # type: ignore[arg-type]
    file = tmp_path / "best.safetensors"
    write_tensors(file, starting.as_checkpoint(detector, detector.state_dict()))
    flavour = detector.flavour if families.flavours(families.find(architecture), architecture) else None
    read = detectors.load(architecture, file, preprocessing, Conventions(flavour=flavour)).state_dict()
    for name, tensor in detector.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, read[name]), name
    other = starting.of_other_task(architecture, file, preprocessing, Conventions(flavour=flavour))
    assert not other.logit_layers()[0].weight.any()  # type: ignore[operator]


def test_heads_learn_with_the_batch_and_answer_as_ever() -> None:
    detector = starting.untrained("ganfingerprint", None, Preprocessing(size=64))
    torch.nn.init.normal_(detector.logit_layers()[0].weight)  # type: ignore[arg-type]
    features = torch.rand(6, 256, 2, 2)
    torch.testing.assert_close(
        detector.classify_to_learn(features, 0.5).logits, detector.classify(features).logits, atol=1e-5, rtol=1e-5
    )
    norm = next(module for module in detector.head.modules() if isinstance(module, torch.nn.BatchNorm1d))
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    detector.train()
    first, second = (detector.classify_to_learn(features, 0.5).logits for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(norm.running_mean, before)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ selection
def test_metrics_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels, diffs = rng.integers(0, 2, 60), rng.normal(0, 1, 60)
    called = p_fake_of(diffs) >= 0.4
    judged = AtThreshold(0.4)(labels, diffs)
    expected = {
        "accuracy": metrics.accuracy_score(labels, called), "precision": metrics.precision_score(labels, called),
        "recall": metrics.recall_score(labels, called), "f1": metrics.f1_score(labels, called),
        "auc": metrics.roc_auc_score(labels, diffs),
    }  # fmt: skip
    assert {name: judged[name] for name in expected} == pytest.approx(expected)
    assert selection.score_of(judged, SEED_003) == pytest.approx(sum(SEED_003[n] * v for n, v in expected.items()))


def test_weights_that_prefer_all_fake_are_told() -> None:
    labels = np.array([1] * 30 + [0] * 30)
    all_fake = AtThreshold(0.5)(labels, np.ones(60))
    assert {**selection.of_all_fake(30, 30)} == pytest.approx(
        {name: all_fake[name] for name in selection.of_all_fake(1, 1)}
    )
    (warning,) = selection.warnings_before(SEED_003, 30, 30)
    needed = selection.break_even(SEED_003, 30, 30)
    assert f"{math.floor(100 * needed)} %" in warning
    assert 0.8 < needed < 0.95
    assert selection.warnings_before({"auc": 1.0}, 30, 30) == []
    assert selection.warnings_before({"accuracy": 0.5, "auc": 0.5}, 30, 30) == []
    score = selection.score_of(all_fake, SEED_003)
    assert len(selection.warnings_after(score, all_fake, SEED_003, 30, 30)) == 2


# ------------------------------------------------------------------------------------ rates
def test_rates_rise_and_fall() -> None:
    cosine = ScheduleSettings(name="cosine", warmup=1, least=0.01)
    of = [rates.share_of_rate(step, 10, 5, cosine, rates.Plateau()) for step in range(50)]
    assert of[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert all(a >= b for a, b in itertools.pairwise(of[10:]))
    assert of[10] == 1
    assert of[-1] == pytest.approx(0.01, abs=0.01)
    plateau, settings = rates.Plateau(), ScheduleSettings(name="plateau", factor=0.5, patience=1, warmup=0)
    shares = []
    for score in (0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7):
        plateau.see(score, settings)
        shares.append(rates.share_of_rate(0, 10, 9, settings, plateau))
    assert shares == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


# ------------------------------------------------------------------------------------ sampling
def frame(index: int, label: int, source: str | None = None) -> Frame:
    return Frame(f"{index}.png", Path(f"{index}.png"), label, source, f"{index:064x}")


def test_all_frames_come_before_any_comes_again() -> None:
    units, classes = sampling.singles([frame(index, index % 2) for index in range(10)])
    plan = Plan(units, classes, 4, None, "none", 3)
    drawn = [unit for epoch in range(1, 6) for batch in plan.batches(epoch) for _, _, unit in batch]
    assert plan.steps == 2
    for start in range(0, 40, 10):
        assert set(drawn[start : start + 10]) == set(units)
    assert drawn[:10] != drawn[10:20]


def test_an_epoch_goes_on_anywhere_and_classes_are_even() -> None:
    units, classes = sampling.singles([frame(index, index >= 24) for index in range(30)])
    plan = Plan(units, classes, 5, None, "sampling", 3)
    whole = list(plan.batches(2))
    assert list(plan.batches(2, 3)) == whole[3:]
    counts: Counter[int | None] = Counter()
    rare: Counter[int] = Counter()
    for epoch in range(1, 9):
        for batch in plan.batches(epoch):
            counts.update(classes[unit[0]] for _, _, unit in batch)
            rare.update(unit[0] for _, _, unit in batch if classes[unit[0]])
    assert counts[0] == counts[1]
    assert max(rare.values()) - min(rare.values()) <= 1
    weights = Plan(units, classes, 5, None, "loss", 3).class_weights
    assert weights == pytest.approx((30 / 48, 30 / 12))


def test_pairs_and_held_out_frames_go_by_source() -> None:
    frames = [frame(0, 0, "a"), frame(1, 1, "a;b"), frame(2, 0, "b"), frame(3, 1, "c"), frame(4, 0, "d")]
    assert all(frames[real].label == 0 for real, _ in sampling.pairs(frames, 0))
    assert [fake for _, fake in sampling.pairs(frames, 0)] == [1]
    many = [frame(index, index % 2, f"v{index // 4}") for index in range(80)]
    groups = datasets.grouped(many).values()
    held = sampling.hold_out(many, groups, 0.2, 1)
    assert not {f.source for f in many if f not in held} & {f.source for f in held}
    assert len(held) == 16
    assert sampling.hold_out(many, groups, 0.2, 2) != held


# ------------------------------------------------------------------------------------ augmentation
ONLY = {
    "flip": 1.0, "rotation": 1.0, "affine": 1.0, "colour": 1.0, "blur": 1.0, "noise": 1.0, "colours": 1.0, "jpeg": 1.0,
    "erase": 1.0,
}  # fmt: skip


def of(name: str) -> AugmentSettings:
    return AugmentSettings.model_validate({**dict.fromkeys(AugmentSettings.model_fields, 0.0), name: ONLY[name]})


@pytest.mark.parametrize("name", ONLY)
def test_every_augmentation_changes_frames_by_its_seed_alone(name: str) -> None:
    pixels, mask = picture(), np.zeros((48, 48), np.uint8)
    mask[8:24, 8:24] = 255
    first, second = (augmentation.changed(np.random.default_rng(4), of(name), pixels, mask) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert (first[0] != pixels).any()
    assert first[0].dtype == np.uint8
    assert first[0].shape == pixels.shape
    is_moved = name in ("flip", "rotation", "affine", "erase")
    assert (first[1] != mask).any() or not is_moved or name == "erase"
    if not is_moved:
        np.testing.assert_array_equal(first[1], mask)


def test_masks_stay_on_what_they_mark() -> None:
    """A white square on black, its own mask: after a move they still lie on each other."""
    mask = np.zeros((48, 48), np.uint8)
    mask[10:20, 28:40] = 255
    pixels = np.repeat(mask[..., None], 3, axis=2)
    settings = AugmentSettings.model_validate(
        {**dict.fromkeys(AugmentSettings.model_fields, 0.0), "flip": 0.5, "rotation": 1.0, "affine": 1.0}
    )
    for seed in range(8):
        moved, of_mask = augmentation.changed(np.random.default_rng(seed), settings, pixels, mask)
        np.testing.assert_array_equal(moved[..., 0], of_mask)


def test_none_changes_nothing() -> None:
    none = AugmentSettings.model_validate("none")
    pixels, _ = augmentation.changed(np.random.default_rng(0), none, picture(), np.zeros((48, 48), np.uint8))
    np.testing.assert_array_equal(pixels, picture())
    assert augmentation.crop_box(np.random.default_rng(0), none, 40, 60) == (0, 0, 40, 60)


def test_crops_have_the_size_that_is_asked_for() -> None:
    settings = AugmentSettings.model_validate({"crop": {"share": 1.0, "least": 0.5, "ratio": 1.2}})
    for seed in range(50):
        top, left, tall, wide = augmentation.crop_box(np.random.default_rng(seed), settings, 100, 140)
        assert 0 <= top <= 100 - tall
        assert 0 <= left <= 140 - wide
        assert 0.48 <= tall * wide / 14000 <= 1


# ------------------------------------------------------------------------------------ self-blends
def test_self_blends_lie_on_the_face() -> None:
    """The mask is around the five points; where the frame is what is blended into, only what it marks is otherwise."""
    size = 160
    points = (POINTS * 36 + [80, 66]).tolist()
    smooth = np.asarray(cv2.resize(picture(48, 3), (size, size)), np.uint8)
    inside = untouched = 0
    for seed in range(12):
        fake, mask = blended_face(np.random.default_rng(seed), smooth, points)
        again, _ = blended_face(np.random.default_rng(seed), smooth, points)
        np.testing.assert_array_equal(fake, again)
        assert fake.shape == (size, size, 3)
        rows, columns = np.nonzero(mask > 128)
        assert 30 < columns.mean() < 130
        assert 30 < rows.mean() < 150
        assert (fake != smooth).any()
        untouched += bool((fake[mask == 0] == smooth[mask == 0]).all())
        inside += bool(mask[66:120, 60:100].mean() > mask[:20].mean())
    assert inside == 12
    # Of the others the copy that is a little off is what the frame is blended into.
    assert 2 <= untouched <= 10


def test_self_blends_to_choose_the_best_epoch_by_are_fitted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing blended in they are what the network sees of the real frame, whatever it cuts off its sides."""
    monkeypatch.setattr("bench.datasets.face_blends.blended_face", lambda rng, frame, points, scale: (frame, None))
    file = tmp_path / "real.png"
    cv2.imwrite(str(file), cv2.resize(picture(48, 3), (140, 180)))
    frame, points = Frame("real.png", file, 0, "a", "d"), (((60.0, 60.0),) * 5)
    for spec in (InputSpec(64, "crop", crop_pct=0.875), InputSpec(64, "crop"), InputSpec(64, "pad"), InputSpec(64)):
        folder = tmp_path / f"{spec.fit}-{spec.crop_pct}"
        folder.mkdir()
        (blend,) = faces.blended_validation([frame], {"d": points}, spec, 1.0, folder)
        seen, of_real = (datasets.fit(datasets.picture(each.file), spec) for each in (blend, frame))
        np.testing.assert_array_equal(seen, of_real)


# ------------------------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"optimizer": "adamm"}, "adamw"),
        ({"optimizer": {"name": "adam", "momentum": 0.5}}, "none of adam's settings"),
        ({"schedule": {"name": "cosine", "patience": 2}}, "none of cosine's settings"),
        ({"select": {"recal": 1}}, "recall"),
        ({"select": {"recall": 0}}, "all weights are 0"),
        ({"augment": {"jpeg": {"least": 90, "most": 50}}}, "write the smaller one first"),
        ({"augment": "lots"}, "expected none, usual"),
        ({"pairs": True, "self_blend": True}, "exclude each other"),
        ({"workers": "many"}, "auto or a whole number"),
        ({"average": 1.0}, "less than 1"),
    ],
)
def test_settings_are_refused_with_what_is_wrong(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate(given)
    assert reason in str(refused.value)


def test_names_alone_stand_for_settings() -> None:
    recipe = Recipe.model_validate({"optimizer": "sgd", "schedule": "plateau", "select": "f1", "self_blend": True})
    assert recipe.optimizer == OptimizerSettings(name="sgd")
    assert recipe.schedule.name == "plateau"
    assert recipe.selection == {"f1": 1.0}
    assert recipe.self_blend is not None


def test_a_run_killed_before_its_first_file_leaves_nothing(tmp_path: Path) -> None:
    """A folder with no more in it than files without a name goes when the training is begun again."""
    home = tmp_path / run_folder.TRAININGS / "mine"
    (home / "20261128-120000").mkdir(parents=True)
    (home / "20261128-120000" / temporary_name()).write_text("{")
    (home / "empty").mkdir()
    (home / "notes").mkdir()
    (home / "notes" / "mine.txt").write_text("kept")
    folder, was_begun = run_folder.choose(tmp_path, "mine", "key", {}, again=False)
    assert not was_begun
    assert sorted(path.name for path in home.iterdir()) == sorted([folder.name, "empty", "notes"])
    assert run_folder.choose(tmp_path, "mine", "key", {}, again=False) == (folder, True)
