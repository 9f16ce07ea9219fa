"""Pruning with calibration frames: what convolutions read, which channels go, how many, and what repair does."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from twin import twin

from bench.artifacts import footprint
from bench.detectors.detector import Detector, StaticPadConv2d
from bench.detectors.families import efficientnet, timm_models
from bench.detectors.heads.gap_linear import GapLinear
from bench.errors import UserError
from bench.records import Preprocessing
from bench.variants.chain import parse
from bench.variants.layers import convolutions
from bench.variants.steps import prune
from bench.variants.steps.prune import ranking
from bench.variants.steps.prune import repair as repair_module
from bench.variants.steps.prune.channels import Channels, Group
from bench.variants.steps.prune.elimination import Ranked
from bench.variants.steps.prune.regression import Moments, deciding_frames
from bench.variants.steps.prune.repair import Evidence, repair
from bench.variants.steps.prune.widths import Budget
from tests.support import b0, tiny
from tests.support.chains import check as check_chain
from tests.support.step_work import frames, work

OTHERS: list[dict[str, Any]] = [{"ranking": "magnitude"}, {"repair": False}, {"frames": 64}]
EXPAND, INNER = "backbone.1.expand.0", 64


@pytest.fixture
def parent(tiny_family: Any) -> Detector:
    torch.manual_seed(0)
    return tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING))


@pytest.fixture
def doubled(parent: Detector) -> Detector:
    """Of the block's 64 inner channels the second 32 say what the first 32 say."""
    block: Any = parent.backbone[1]  # type: ignore[index]
    half = INNER // 2
    with torch.no_grad():
        for layer in (*block.expand, *block.depthwise, block.gate.expand):
            for tensor in (*layer.parameters(), *layer.buffers()):
                if tensor.ndim:
                    tensor[half:] = tensor[:half]
    return parent


def margins(model: Detector, seed: int = 3) -> Tensor:
    with torch.inference_mode():
        logits, _ = model(frames(32, model.preprocessing.size, seed))
    margin: Tensor = logits[:, 1] - logits[:, 0]
    return margin


def inner(channels: Channels) -> Group:
    return next(
        group for group in channels.groups if EXPAND in group.outputs and "backbone.1.gate.expand" in group.outputs
    )


# ---------------------------------------------------------------------------------- convolutions
def padded_statically() -> StaticPadConv2d:
    conv = StaticPadConv2d(6, 8, 3, stride=2, bias=False)
    conv.pad = (0, 1, 1, 2)
    return conv


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 8, 1), nn.Conv2d(6, 8, 3, padding=1), nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2)),
        nn.Conv2d(6, 8, 3, dilation=2), nn.Conv2d(6, 6, 5, padding=2, groups=6), nn.Conv2d(6, 8, 3, groups=2),
        nn.Conv2d(6, 8, 3, padding="same"), Conv2dSame(6, 8, 3, stride=2), padded_statically(),
    ],
    ids=str,
)  # fmt: skip
@torch.no_grad()
def test_patches_are_what_a_convolution_reads(conv: nn.Conv2d) -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 6, 11, 9)
    output = conv(features)
    drawn = torch.stack([torch.randperm(output[0, 0].numel())[:7] for _ in range(3)])
    weight = conv.weight.reshape(conv.groups, conv.out_channels // conv.groups, -1)
    written = torch.einsum("sgd,god->sgo", convolutions.patches(conv, features, drawn), weight).flatten(1)
    written = written if conv.bias is None else written + conv.bias
    torch.testing.assert_close(written, convolutions.at(output, drawn), atol=1e-5, rtol=1e-5)


def test_stages_are_the_parts_of_nested_sequences() -> None:
    names = [name for name, _ in b0.detector().stages()]
    assert names[:4] == [f"backbone.{name}" for name in ("conv_stem", "bn1", "blocks.0.0", "blocks.1.0")]
    assert len(names) == 16 + 4
    whole = nn.Conv2d(3, 4, 1)
    detector = Detector("", "", Preprocessing(size=16), whole, GapLinear(4))
    assert detector.stages() == [("backbone", whole)]
    assert list(convolutions.layers("backbone", whole)) == ["backbone"]


def test_the_norm_after_each_convolution_is_known() -> None:
    norms = convolutions.norms_after(b0.detector(), torch.zeros(1, 3, 64, 64))
    assert norms["backbone.conv_stem"] == "backbone.bn1"
    assert norms["backbone.blocks.3.0.conv_pwl"] == "backbone.blocks.3.0.bn3"
    assert not any("se." in name for name in norms)


def test_positions_differ_between_frames_and_are_the_same_again() -> None:
    conv, output = nn.Conv2d(4, 4, 1), torch.zeros(2, 4, 80, 80)
    first, second = (convolutions.PositionSampler(64).draw(conv, output) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert all(len(set(row.tolist())) == len(row) == 2048 // 64 for row in first)
    assert torch.equal(convolutions.PositionSampler(64).draw(conv, output[..., :2, :3])[0], torch.arange(6))


# ----------------------------------------------------------------------------------------- repair
def added(read: Any, targets: Any, count: int, felt: Any = None) -> Moments:
    """One row a frame, in four batches; the targets are all that is lacking."""
    decides = deciding_frames([None] * count)
    moments = Moments(decides, felt)
    for rows in np.array_split(np.arange(count), 4):
        inputs, outputs = (torch.tensor(values[rows, None]).float() for values in (read, targets))
        moments.add(inputs, outputs, outputs, decides[rows])
    return moments


def test_no_source_judges_what_it_was_fitted_to() -> None:
    sources = [f"video {index // 3}" for index in range(24)]
    decides = deciding_frames(sources)
    deciding = {source for source, decides_here in zip(sources, decides.tolist(), strict=True) if decides_here}
    assert len(deciding) == 2
    assert decides.sum() == 6
    assert deciding_frames([None] * 8).tolist() == [False, False, False, True] * 2
    assert deciding_frames(["one video"] * 8).tolist() == [False, False, False, True] * 2


def test_moments_solve_a_regression_as_numpy_does() -> None:
    """Inputs of very different scales, far from zero."""
    rng = np.random.default_rng(0)
    read = rng.normal(50, 1, (500, 5)) * [1, 1e-3, 1e3, 1, 1]
    weights = rng.normal(size=(3, 5)) / [1, 1e-3, 1e3, 1, 1]
    targets = read @ weights.T + [1, 2, 3]
    change, intercept = (part[0].numpy() for part in added(read, targets, 500).solve())
    standard = (read - read.mean(0)) / read.std(0)
    least = 1e-3  # nothing but the inputs says what is wanted, so the weakest ridge does best
    expected = np.linalg.solve(
        standard.T @ standard / 500 + least * np.eye(5), standard.T @ (targets - targets.mean(0)) / 500
    )
    np.testing.assert_allclose(change * read.std(0), expected.T, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(read.mean(0) @ change.T + intercept, targets.mean(0), rtol=1e-4)


def test_what_the_logit_difference_feels_decides_on_the_ridge() -> None:
    """One output is a weak input's, seven are noise: on average no fit is best, for the first the weakest ridge is."""
    rng = np.random.default_rng(3)
    read = rng.normal(size=(60, 20))
    targets = np.concatenate([read[:, :1], rng.normal(size=(60, 7))], axis=1)
    felt = torch.zeros(8, 8)
    felt[0, 0] = 5.0
    errors = {}
    for name, weighing in (("all alike", None), ("felt", felt)):
        change, _ = added(read, targets, 60, weighing).solve()
        errors[name] = float((change[0, 0] - torch.eye(20)[0]).square().sum())
    assert errors["felt"] < 1e-4
    assert errors["all alike"] > 0.1


def test_the_ridge_grows_where_frames_are_few() -> None:
    """Forty inputs, of which each says a little, and much noise: a fit to 48 rows does worse than none."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=40)
    errors = {}
    for rows in (48, 4800):
        read, noise = rng.normal(size=(rows, 40)), rng.normal(size=rows) * 20
        change, _ = added(read, (read @ weights + noise)[:, None], rows).solve()
        errors[rows] = float(((change[0, 0].numpy() - weights) ** 2).sum() / (weights**2).sum())
        unheld = np.linalg.lstsq(read, read @ weights + noise)[0]
        assert rows == 4800 or ((unheld - weights) ** 2).sum() > 3 * (weights**2).sum()
    assert errors[48] <= 1
    assert errors[4800] < 0.2


@pytest.mark.parametrize("largest", [1e-6, 1.0, 1e9])
def test_kept_activations_are_rounded_far_below_what_matters(largest: float) -> None:
    batches, batch = convolutions.HalvedBatches(), torch.randn(4, 3, 5, 5) * largest
    batches.append(batch)
    torch.testing.assert_close(next(iter(batches)), batch, rtol=1e-3, atol=1e-6 * largest)


def cut_in_half(model: Detector, folder: Path, repaired: bool, count: int = 32) -> Detector:
    """Half the block's inner channels gone, those that the margin misses least, by `count` calibration frames."""
    folder.mkdir(exist_ok=True)
    pruned, surroundings = copy.deepcopy(model).requires_grad_(True), work(folder, model, count)
    channels = Channels(pruned)
    group = inner(channels)
    ranked = ranking.rank(copy.deepcopy(model), channels.groups, surroundings, 32)
    left = channels.cut(group, ranked[group.root].importance, INNER // 2)
    if repaired:
        repair(pruned, model, left, surroundings, Evidence(32))
    return pruned


def test_what_is_said_twice_is_said_once_afterwards(doubled: Detector, tmp_path: Path) -> None:
    """Ranking leaves one of each pair, and repair gives it the weights of both."""
    before = margins(doubled)
    repaired, bare = (margins(cut_in_half(doubled, tmp_path, is_repaired)) for is_repaired in (True, False))
    assert float((repaired - before).var()) < 2e-3 * float(before.var())
    assert float((bare - before).var()) > 20 * float((repaired - before).var())


def test_few_frames_are_fitted_to_with_varied_copies(
    parent: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are, then otherwise each time, until there are enough; nearer then on frames that are not read."""
    surroundings = work(tmp_path, parent, count=12)
    batches = np.stack(list(repair_module._copies(surroundings, 12, 3)))
    assert batches.shape[:2] == (3, 12)
    assert np.array_equal(batches[0], frames(12, 32, seed=1).numpy())
    assert len({batch.tobytes() for batch in batches}) == 3
    before, errors = margins(parent), {}
    for most in (1, 4):
        monkeypatch.setattr(repair_module, "_MOST_COPIES", most)
        after = margins(cut_in_half(parent, tmp_path / str(most), repaired=True, count=12))
        errors[most] = float((after - before).var())
    assert errors[4] < errors[1]


@pytest.mark.parametrize(
    ("felt", "settings", "frames"),
    [(True, {}, 512), (False, {}, 128), (True, {"frames": 64}, 64), (True, {"frames": 600}, 600)],
)
def test_more_frames_are_read_where_what_goes_is_felt(
    felt: bool, settings: dict[str, Any], frames: int, parent: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[Evidence]()
    monkeypatch.setattr(repair_module, "repair", lambda *given: read.append(given[-1]))
    monkeypatch.setattr(repair_module, "will_be_felt", lambda _: felt)
    prune.apply(parent, prune.Settings(amount=0.5, **settings), work(tmp_path, parent))
    assert [(evidence.frames, evidence.varied) for evidence in read] == [(frames, felt)]


def test_large_frames_have_many_positions_each() -> None:
    assert [repair_module.most_frames(128, size) for size in (64, 160, 224, 380)] == [512, 512, 261, 128]


def test_ranking_leaves_one_of_each_pair(doubled: Detector, tmp_path: Path) -> None:
    channels = Channels(doubled.requires_grad_(True))
    group = inner(channels)
    ranked = ranking.rank(doubled, channels.groups, work(tmp_path, doubled), 32)[group.root]
    goes = ranked.importance.argsort()[: INNER // 2] % (INNER // 2)
    # By magnitude both of a pair go together, which leaves 16; a few singles are worth less than any pair.
    assert len(set(goes.tolist())) > 26
    assert ranked.losses[0] == 0
    assert (np.diff(ranked.losses) >= 0).all()
    assert ranked.losses[INNER // 2] < 0.05 * ranked.losses[-1]


def streams(model: Detector) -> list[Group]:
    groups = Channels(model).groups
    readers = ranking.readers(model, groups)
    return [group for group in groups if group.root not in readers]


def test_worth_of_what_many_read_hangs_on_no_scale(parent: Detector, tmp_path: Path) -> None:
    importances = [
        ranking.importances(model, streams(model.requires_grad_(True)), work(tmp_path, model), 32)
        for model in (parent, twin(parent))
    ]
    assert len(importances[0]) == len(importances[1]) >= 1
    for plain, of_twin in zip(importances[0].values(), importances[1].values(), strict=True):
        torch.testing.assert_close(plain, of_twin, rtol=1e-3, atol=1e-6 * float(plain.max()))
        assert plain.max() > 10 * plain.min()


def test_channels_that_the_head_does_not_read_are_worth_least(parent: Detector, tmp_path: Path) -> None:
    with torch.no_grad():
        parent.head.weight[:, [1, 5]] = 0
    last = next(group for group in streams(parent.requires_grad_(True)) if "head" in group.inputs)
    importances = ranking.importances(parent, [last], work(tmp_path, parent), 32)[last.root]
    assert set(importances.argsort()[:2].tolist()) == {1, 5}


def test_channels_inside_of_a_head_are_ranked_by_what_the_logits_lose(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm_models.build("timm:mobilenetv3_small_050", "timm", Preprocessing(size=32))
    layers: Any = model.head.layers
    with torch.no_grad():
        layers.classifier.weight[:, [1, 5]] = 0
    groups = Channels(model.requires_grad_(True)).groups
    inside = next(group for group in groups if "head.layers.conv_head" in group.outputs)
    importances = ranking.importances(model, [inside], work(tmp_path, model), 32)[inside.root]
    assert importances.isfinite().all()
    assert set(importances.argsort()[:2].tolist()) == {1, 5}
    assert (importances > 0).sum() > inside.width // 2


def test_only_what_lost_inputs_is_refitted(parent: Detector, tmp_path: Path) -> None:
    pruned = cut_in_half(parent, tmp_path, True)
    bare = cut_in_half(parent, tmp_path, False)
    changed = {n for n, m in bare.state_dict().items() if not torch.equal(m, pruned.state_dict()[n])}
    assert changed == {
        "backbone.1.gate.reduce.weight", "backbone.1.gate.reduce.bias",
        "backbone.1.project.0.weight", "backbone.1.project.1.running_mean",
    }  # fmt: skip


def test_a_sum_makes_up_for_what_its_input_lacks(parent: Detector, tmp_path: Path) -> None:
    """The stem is spoiled: the block's last convolution, refitted, brings the stream nearer to the original."""
    spoiled = copy.deepcopy(parent)
    with torch.no_grad():
        spoiled.backbone[0][1].bias += 0.3  # type: ignore[index]

    def stream(model: Detector) -> Tensor:
        with torch.no_grad():
            return torch.as_tensor(model.backbone[:2](model.preprocess(frames(16, 32, 5)).float()))  # type: ignore[index]

    pruned = spoiled.requires_grad_(True)
    channels = Channels(pruned)
    group = inner(channels)
    left = channels.cut(group, channels.magnitudes(group), INNER - 8)
    before = float((stream(pruned) - stream(parent)).square().mean())
    repair(pruned, parent, left, work(tmp_path, parent), Evidence(32))
    assert float((stream(pruned) - stream(parent)).square().mean()) < 0.6 * before


def test_scales_of_channels_change_nothing(parent: Detector, tmp_path: Path) -> None:
    uneven = twin(parent)
    half, of_twin = (
        prune.apply(copy.deepcopy(m), prune.Settings(amount=0.2), work(tmp_path, m)) for m in (parent, uneven)
    )
    shapes: list[Mapping[str, Any]] = [{n: t.shape for n, t in m.state_dict().items()} for m in (half, of_twin)]
    assert shapes[0] == shapes[1]
    assert (margins(half) - margins(of_twin)).std() < 0.3 * margins(parent).std()


def test_what_the_head_lost_does_not_shift_the_margin(parent: Detector, tmp_path: Path) -> None:
    """Ranks would not show it, probabilities would."""
    pruned = prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.2), work(tmp_path, parent))
    assert pruned.head.in_features < parent.head.in_features
    shift = (margins(pruned) - margins(parent)).mean().abs()
    assert shift < 0.1 * margins(parent).std()


@pytest.mark.slow
def test_pruned_and_repaired_follows_the_original(tmp_path: Path) -> None:
    """Ranked and repaired, a B0 follows itself better than cut by magnitude."""
    model = b0.detector()
    before = margins(model)
    settings = {
        "loss": prune.Settings(amount=0.3, frames=32),
        "magnitude": prune.Settings(amount=0.3, ranking="magnitude", repair=False),
    }
    after = {
        name: margins(prune.apply(copy.deepcopy(model), chosen, work(tmp_path, model)))
        for name, chosen in settings.items()
    }
    error = {name: float((margin - before).square().mean()) for name, margin in after.items()}
    assert error["loss"] < 0.5 * error["magnitude"], error


# ----------------------------------------------------------------------------------------- budget
@pytest.mark.parametrize("flavour", ["static", "tf"])
def test_the_budget_is_what_is_then_counted(flavour: str) -> None:
    """What the budget foresees of parameters and MACs is what the cut network has."""
    model = efficientnet.build("efficientnet_b0", flavour, Preprocessing(size=64)).requires_grad_(True)
    before = footprint.footprint_of(model)
    channels = Channels(model)
    budget = Budget(model, channels.groups, 0.5)
    widths = budget.uniform()
    for group in channels.groups:
        channels.cut(group, channels.magnitudes(group), widths[group.root])
    left = [now / then for now, then in zip(footprint.footprint_of(model), before, strict=True)]
    np.testing.assert_allclose(budget.shares(widths)[:2], left, rtol=1e-9)
    assert 0.4 < max(left) <= 0.5
    assert budget.fits(widths)


def test_what_cannot_go_is_refused_before_frames_are_looked_at(
    parent: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "rank", lambda *_: pytest.fail("frames were looked at"))
    with pytest.raises(UserError, match="not 900 times as fast"):
        prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.2, speed=900), work(tmp_path, parent))


def test_the_message_names_the_most_that_can_go(parent: Detector, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0\.99 of tiny cannot be taken away; expected at most 0\.\d+") as refused:
        prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.99), work(tmp_path, parent))
    most = float(str(refused.value).split("at most ")[1].split(",")[0])
    pruned = prune.apply(copy.deepcopy(parent), prune.Settings(amount=most), work(tmp_path, parent))
    assert footprint.footprint_of(pruned)[0] <= (1 - most) * footprint.footprint_of(parent)[0]


def test_streams_stay_whole_and_the_dear_layer_is_spared(parent: Detector) -> None:
    """Channels that blocks pass on stay, and the layer whose loss counts a hundredfold gives least."""
    model = efficientnet.build("efficientnet_b0", "static", Preprocessing(size=64)).requires_grad_(True)
    channels = Channels(model)
    roots = ranking.readers(model, channels.groups)
    dear = next(root for root in roots if "blocks.4.0" in root)
    losses = {
        group.root: Ranked(
            torch.arange(group.width).float(),
            (100.0 if group.root == dear else 1.0) * np.linspace(0, 1, group.width + 1) ** 2,
        )
        for group in channels.groups
        if group.root in roots
    }
    budget = Budget(model, channels.groups, 0.5)
    widths = budget.cheapest(losses)
    assert budget.fits(widths)
    assert all(widths[group.root] == group.width for group in channels.groups if group.root not in roots)
    shares = {group.root: widths[group.root] / group.width for group in channels.groups if group.root in roots}
    assert shares[dear] > np.median(list(shares.values())) + 0.2
    assert all(widths[root] % 8 == 0 for root in roots)


# ----------------------------------------------------------------------------------------- errors
def test_frames_are_asked_for_where_they_are_read(parent: Detector, tmp_path: Path) -> None:
    """Ranking and repair need eight frames; magnitude without repair, and zeros, need none."""
    few = work(tmp_path, parent, count=5).frames
    with pytest.raises(UserError, match=r"5 calibration frames are too few.*at least 8"):
        check_chain([parse({"prune": 0.5})], few)
    with pytest.raises(UserError, match="needs calibration frames"):
        check_chain([parse({"prune": 0.5})], {})
    for settings in ({"ranking": "magnitude", "repair": False}, {"structure": "unstructured"}):
        check_chain([parse({"prune": {"amount": 0.5, **settings}})], {})
    bare = prune.apply(
        copy.deepcopy(parent), prune.Settings(amount=0.5, ranking="magnitude", repair=False), work(tmp_path, parent, 0)
    )
    assert footprint.footprint_of(bare)[0] <= 0.5 * footprint.footprint_of(parent)[0]


@pytest.mark.parametrize("way", ["loss", "magnitude"])
def test_what_is_not_finite_is_said(way: Any, parent: Detector, tmp_path: Path) -> None:
    with torch.no_grad():
        parent.backbone[0][1].bias[3] = float("nan")  # type: ignore[index]
    with pytest.raises(UserError, match=r"prune: .*not finite"):
        prune.apply(parent, prune.Settings(amount=0.5, ranking=way), work(tmp_path, parent))


def test_settings_that_differ_are_other_artifacts() -> None:
    dumped = [
        parse({"prune": {"amount": 0.5, **more}}).settings.model_dump(mode="json")
        for more in ({}, {"ranking": "loss", "repair": True, "frames": "auto"}, *OTHERS)
    ]
    assert dumped[0] == dumped[1] == {"amount": 0.5}
    assert dumped[2:] == [
        {"amount": 0.5, **more} for more in ({"ranking": "magnitude"}, {"repair": False}, {"frames": 64})
    ]


def test_frames_that_look_all_the_same_are_refused(parent: Detector, tmp_path: Path) -> None:
    surroundings = work(tmp_path, parent)
    black = replace(
        surroundings, read=lambda frames, spec, size: iter([np.zeros((len(frames), 3, spec.size, spec.size), np.uint8)])
    )
    with pytest.raises(UserError, match="prune: the detector says the same of all 32 calibration frames"):
        prune.apply(copy.deepcopy(parent), prune.Settings(amount=0.5), black)
