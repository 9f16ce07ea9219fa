"""Pruning a vision transformer: hidden units and whole heads go, by what the logit difference would lose."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from timm.layers.layer_scale import LayerScale
from torch import Tensor, nn

from bench.artifacts import safetensors
from bench.artifacts.footprint import footprint_of, two_of_four
from bench.artifacts.onnx_export import to_onnx
from bench.detectors.detector import Detector
from bench.detectors.heads.gap_linear import GapLinear
from bench.detectors.networks import attention
from bench.errors import UserError
from bench.records import Preprocessing
from bench.variants.layers import convolutions
from bench.variants.steps import cast, prune, recover
from bench.variants.steps.prune import elimination, ranking
from bench.variants.steps.prune.channels import Channels
from bench.variants.steps.prune.repair import Evidence, repair
from bench.variants.steps.prune.widths import Budget
from tests.support import tokens
from tests.support.step_work import frames, work

BLOCK = "backbone.blocks.1"
QKV, HIDDEN = f"{BLOCK}.attn.qkv", f"{BLOCK}.mlp.fc1"


@pytest.fixture
def parent() -> Detector:
    return tokens.lively()


def block_of(model: Detector) -> Any:
    return model.get_submodule(BLOCK)


def margins(model: Detector, seed: int = 3) -> Tensor:
    with torch.inference_mode():
        logits = model(frames(32, model.preprocessing.size, seed)).logits
    margin: Tensor = logits[:, 1] - logits[:, 0]
    return margin


def error(model: Detector, parent: Detector) -> float:
    """The squared error of the logit difference, as a share of its variance."""
    before = margins(parent)
    return float((margins(model) - before).square().mean() / before.var())


def pruned(parent: Detector, folder: Path, **settings: Any) -> Detector:
    folder.mkdir(exist_ok=True)
    return prune.apply(copy.deepcopy(parent), prune.Settings(**settings), work(folder, parent))


def shares(model: Detector, parent: Detector) -> list[float]:
    return [now / before for now, before in zip(footprint_of(model), footprint_of(parent), strict=True)]


def assert_heads_are_consistent(model: Detector) -> None:
    """What each attention says of itself is what its layers have."""
    for of_block in model.attentions().values():
        heads, width = of_block.num_heads, of_block.head_dim
        assert heads >= 1
        assert of_block.attn_dim == of_block.proj.in_features == heads * width
        assert of_block.qkv.out_features == len(of_block.qkv.bias) == 3 * heads * width


# ----------------------------------------------------------------------------------- what may go
def test_hidden_units_and_heads_are_the_groups(parent: Detector) -> None:
    groups = {group.root: group for group in Channels(parent).groups}
    assert len(groups) == 2 * 6
    hidden, heads = groups[HIDDEN], groups[QKV]
    assert (hidden.width, hidden.step, hidden.inputs) == (192, 8, {f"{BLOCK}.mlp.fc2": 1})
    assert (heads.width, heads.step, heads.columns) == (2, 1, 32)
    assert (heads.outputs, heads.inputs) == ({QKV: 96}, {f"{BLOCK}.attn.proj": 32})
    readers = ranking.readers(parent, list(groups.values()))
    assert (readers[HIDDEN], readers[QKV]) == (f"{BLOCK}.mlp.fc2", f"{BLOCK}.attn.proj")


def test_units_are_the_parts_of_the_network(parent: Detector) -> None:
    """One after another they give the tokens that the class token's logits come from."""
    inputs = convolutions.prepared(parent, frames(3, 64).numpy())
    passed = inputs
    with torch.inference_mode():
        for _, unit in parent.units():
            passed = unit(passed)
        network: Any = parent.backbone
        logits = parent.head(network.norm(passed[:, 0]))
        torch.testing.assert_close(logits, parent.classify(parent.features(inputs)).logits, atol=1e-5, rtol=1e-5)
    named = {name for unit, module in parent.units() for name in convolutions.layers(unit, module)}
    assert named == set(parent.weighted_layers())


def test_gates_and_normalised_queries_stay_whole(parent: Detector) -> None:
    """An MLP with gates, whose outputs are more than the hidden units, and an attention that normalises queries."""
    block = block_of(parent)
    block.mlp.fc2 = nn.Linear(96, 64)
    block.attn.q_norm = nn.LayerNorm(32)
    fixed = parent.fixed_layers()
    assert block.mlp.fc1 in fixed
    assert block.attn.qkv in fixed
    assert QKV not in parent.attentions()


def test_the_budget_is_what_is_then_counted(parent: Detector) -> None:
    """Of parameters and MACs; tokens' own parameters and LayerScale count too."""
    block_of(parent).ls1 = LayerScale(64, init_values=0.5)
    whole = copy.deepcopy(parent)
    channels = Channels(parent.requires_grad_(True))
    budget = Budget(parent, channels.groups, 0.5)
    widths = budget.uniform()
    for group in channels.groups:
        channels.cut(group, channels.magnitudes(group), widths[group.root])
    np.testing.assert_allclose(budget.shares(widths)[:2], shares(parent, whole), rtol=1e-9)
    # Heads are rounded coarsely; the hidden units make up for it.
    assert 0.48 < max(shares(parent, whole)) <= 0.5
    assert_heads_are_consistent(parent)


def test_magnitudes_are_those_of_the_heads_own_weights(parent: Detector) -> None:
    """Small rows of one head's query, key and value, and small columns of what reads it: that head is the weaker."""
    channels = Channels(parent)
    group = next(group for group in channels.groups if group.root == QKV)
    rows = torch.arange(192).reshape(3, 2, 32)[:, 1].flatten()
    attended = block_of(parent).attn
    with torch.no_grad():
        attended.qkv.weight[rows] *= 0.5
        attended.proj.weight[:, 32:] *= 0.25
    weakened = channels.magnitudes(group)
    assert 4 < float(weakened[0] / weakened[1]) < 16
    query = attended.qkv.weight[:32].clone()
    channels.cut(group, weakened, 1)
    assert torch.equal(attended.qkv.weight[:32], query)
    assert attended.qkv.weight.shape == (96, 64)
    assert attended.proj.weight.shape == (64, 32)


# --------------------------------------------------------------------------------------- ranking
def best_loss(felt: NDArray[np.float64], moments: NDArray[np.float64], gone: list[int]) -> float:
    """What is lost by inputs that go when the others are fitted again: by least squares, written out."""
    stays = [index for index in range(len(moments)) if index not in gone]
    fitted = np.zeros_like(felt)
    fitted[:, stays] = felt @ moments[:, stays] @ np.linalg.inv(moments[np.ix_(stays, stays)])
    lacking = felt - fitted
    return float(np.trace(lacking @ moments @ lacking.T))


def test_blocks_go_by_what_is_lost_when_the_others_take_over() -> None:
    """Greedily, each with what all that went until then has cost; those that stay have the weights of a new fit."""
    rng = np.random.default_rng(0)
    mixed, felt = rng.normal(size=(12, 12)), rng.normal(size=(3, 12))
    moments, left = mixed @ mixed.T, dict[int, tuple[NDArray[np.intp], NDArray[np.float32]]]()

    def judge(stay: NDArray[np.intp], weights: NDArray[np.float32]) -> None:
        left[len(stay)] = stay, weights

    inverse = np.linalg.inv(moments).astype(np.float64)
    order, losses = elimination._removals_of_blocks(felt, inverse, 3, felt.astype(np.float32), judge)
    gone: list[int] = []
    for count, block in enumerate(order, start=1):
        choices = {other: gone + list(range(3 * other, 3 * other + 3)) for other in range(4) if 3 * other not in gone}
        by_choice = {other: best_loss(felt, moments, columns) for other, columns in choices.items()}
        assert block == min(by_choice, key=by_choice.__getitem__)
        assert sum(losses[:count]) == pytest.approx(by_choice[block], rel=1e-6)
        gone = choices[block]
        stay, weights = left[12 - len(gone)]
        assert sorted([*stay, *gone]) == list(range(12))
        fitted = felt @ moments[:, stay] @ np.linalg.inv(moments[np.ix_(stay, stay)])
        np.testing.assert_allclose(weights, fitted, rtol=1e-3, atol=1e-3)
    assert sorted(order) == [0, 1, 2, 3]


def test_blocks_of_one_go_as_single_inputs_do() -> None:
    rng = np.random.default_rng(1)
    mixed, felt = rng.normal(size=(40, 40)), rng.normal(size=(4, 40))
    inverse = np.linalg.inv(mixed @ mixed.T + np.eye(40)).astype(np.float64)
    weights = rng.normal(size=(2, 40)).astype(np.float32)
    left: list[dict[int, tuple[NDArray[np.intp], NDArray[np.float32]]]] = [{}, {}]

    def judge(which: int, stay: NDArray[np.intp], now: NDArray[np.float32]) -> None:
        left[which][len(stay)] = stay, now.copy()

    in_blocks, one_by_one = (
        elimination._removals_of_blocks(felt, inverse, 1, weights, partial(judge, 0)),
        elimination._removals(felt.astype(np.float32), inverse.astype(np.float32), weights, partial(judge, 1)),
    )
    assert in_blocks[0] == one_by_one[0]
    np.testing.assert_allclose(in_blocks[1], one_by_one[1], rtol=1e-3)
    assert sorted(left[1]) == [0, 8, 16, 24, 32], "now and then only"
    for count, (stay, now) in left[1].items():
        np.testing.assert_array_equal(stay, left[0][count][0])
        np.testing.assert_allclose(now, left[0][count][1], rtol=1e-3, atol=1e-4)


def say_twice(model: Detector) -> None:
    """One head of a block says what the other says, and half of the hidden units what the other half says."""
    block = block_of(model)
    first, second = torch.arange(192).reshape(3, 2, 32).unbind(1)
    with torch.no_grad():
        for tensor in (block.attn.qkv.weight, block.attn.qkv.bias):
            tensor[second.flatten()] = tensor[first.flatten()]
        for tensor in (block.mlp.fc1.weight, block.mlp.fc1.bias):
            tensor[96:] = tensor[:96]


def test_what_is_said_twice_is_said_once_afterwards(parent: Detector, tmp_path: Path) -> None:
    """A head and half of the hidden units go without loss, once those that stay have the weights of both."""
    say_twice(parent)
    cut = copy.deepcopy(parent).requires_grad_(True)
    channels = Channels(cut)
    ranked = ranking.rank(copy.deepcopy(parent), channels.groups, work(tmp_path, parent), 32)
    assert ranked[QKV].losses[1] < 0.02 * ranked[QKV].losses[2]
    assert ranked[HIDDEN].losses[96] < 0.05 * ranked[HIDDEN].losses[-1]
    goes = ranked[HIDDEN].importance.argsort()[:96] % 96
    assert len(set(goes.tolist())) > 80, "of each pair, one"
    left: dict[str, Tensor] = {}
    for group in channels.groups:
        if group.root in (QKV, HIDDEN):
            left |= channels.cut(group, ranked[group.root].importance, group.width // 2)
    bare = error(cut, parent)
    repair(cut, parent, left, work(tmp_path, parent), Evidence(32))
    assert error(cut, parent) < 0.02
    assert error(cut, parent) < 0.1 * bare


def test_a_layer_that_is_added_makes_up_for_what_its_input_lacks(parent: Detector, tmp_path: Path) -> None:
    """Also through LayerScale: the first block's tokens are spoiled, and the second block brings them nearer."""
    block_of(parent).ls1 = LayerScale(64, init_values=0.3)
    spoiled = copy.deepcopy(parent)
    network: Any = spoiled.backbone
    with torch.no_grad():
        network.blocks[0].mlp.fc2.bias += 0.5

    def stream(model: Detector) -> Tensor:
        passed = convolutions.prepared(model, frames(8, 64, 5).numpy())
        with torch.no_grad():
            for _, unit in model.units()[:4]:
                passed = unit(passed)
        return passed

    before = float((stream(spoiled) - stream(parent)).square().mean())
    channels = Channels(spoiled.requires_grad_(True))
    group = next(group for group in channels.groups if group.root == QKV)
    left = channels.cut(group, channels.magnitudes(group), 1)
    repair(spoiled, parent, left, work(tmp_path, parent), Evidence(32))
    assert float((stream(spoiled) - stream(parent)).square().mean()) < 0.6 * before


# ------------------------------------------------------------------------------------- the whole
def test_half_of_everything_goes_and_the_rest_takes_over(parent: Detector, tmp_path: Path) -> None:
    """Nearer to the parent than without repair, and than by magnitudes; tokens stay as wide as they were."""
    half = pruned(parent, tmp_path / "half", amount=0.5)
    assert 0.48 < max(shares(half, parent)) <= 0.5
    sizes = [safetensors.save(model, tmp_path / name).stat().st_size for name, model in (("a", half), ("b", parent))]
    assert sizes[0] <= 0.5 * sizes[1]
    assert_heads_are_consistent(half)
    network: Any = half.backbone
    assert all(block.mlp.fc1.out_features >= 8 for block in network.blocks)
    assert network.norm.normalized_shape == (64,)
    bare = pruned(parent, tmp_path / "bare", amount=0.5, repair=False)
    small = pruned(parent, tmp_path / "small", amount=0.5, ranking="magnitude")
    errors = [error(model, parent) for model in (half, bare, small)]
    assert errors[0] < 0.5 * errors[1], errors
    assert errors[0] < 0.8 * errors[2], errors


@pytest.mark.slow
def test_a_pruned_one_is_read_back_exported_and_rounded(parent: Detector, tmp_path: Path) -> None:
    half = pruned(parent, tmp_path / "half", amount=0.5)
    reread = safetensors.load_torch(safetensors.save(half, tmp_path / "stored"))
    given = frames(4, 64, 9)
    with torch.inference_mode():
        expected, again = half(given), reread(given)
    assert torch.equal(expected.logits, again.logits)
    assert torch.equal(expected.cam, again.cam)
    assert_heads_are_consistent(reread)
    session = ort.InferenceSession(to_onnx(half).SerializeToString(), providers=["CPUExecutionProvider"])
    for part in (given, given[:1]):
        logits, cam = session.run(None, {"frames": part.numpy()})
        np.testing.assert_allclose(logits, expected.logits[: len(part)], atol=1e-3, rtol=1e-3)
        np.testing.assert_allclose(cam, expected.cam[: len(part)], atol=1e-3, rtol=1e-2)
    rounded = cast.apply(reread, cast.Settings(dtype="fp16"), work(tmp_path, parent))
    stored = safetensors.load_torch(safetensors.save(rounded, tmp_path / "rounded"))
    assert stored.dtype == torch.float16
    assert_heads_are_consistent(stored)


def test_recover_trains_a_pruned_one(parent: Detector, tmp_path: Path) -> None:
    small = pruned(parent, tmp_path / "small", amount=0.5, ranking="magnitude", repair=False)
    before = error(small, parent)
    settings = recover.Settings(steps=12, batch_size=8, learning_rate=1e-3)
    trained = recover.apply(small, settings, work(tmp_path, parent))
    assert error(trained, parent) < before
    assert_heads_are_consistent(trained)


def test_as_much_as_can_go_leaves_a_head_in_every_block(parent: Detector, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0\.99 of timm:test_vit cannot be taken away; expected at most 0\.\d+") as why:
        pruned(parent, tmp_path, amount=0.99)
    most = float(str(why.value).split("at most ")[1].split(",")[0])
    least = pruned(parent, tmp_path, amount=most)
    assert [of_block.num_heads for of_block in least.attentions().values()] == [1] * 6


@pytest.mark.parametrize("heads", [0, -1, 1.0, "2", None])
def test_a_file_that_claims_no_number_of_heads_is_refused(heads: Any, parent: Detector) -> None:
    with pytest.raises(ValueError, match="cannot have"):
        attention.set_heads(block_of(parent).attn, heads)


# -------------------------------------------------------------------------- two of every four
def test_two_of_four_covers_linear_layers(parent: Detector, tmp_path: Path) -> None:
    before = copy.deepcopy(parent).state_dict()
    settings = prune.Settings.model_validate({"structure": "2of4"})
    sparse = prune.apply(copy.deepcopy(parent), settings, work(tmp_path, parent))
    dense = total = 0
    for name, layer in sparse.weighted_layers().items():
        if isinstance(layer, nn.Linear):
            total += layer.weight.numel()
            if torch.equal(layer.weight, before[f"{name}.weight"]):
                dense += layer.weight.numel()
            else:
                assert ((layer.weight.reshape(-1, 4) == 0).sum(1) == 2).all(), name
    assert total == 6 * (4 * 64 * 64 + 2 * 64 * 192)
    assert dense <= 0.05 * total
    patterns = list(two_of_four(safetensors.save(sparse, tmp_path)))
    assert len(patterns) == 6 * 4
    assert sum(patterns) >= 0.9 * len(patterns)
    assert error(sparse, parent) < error(by_size(parent), parent)


def by_size(parent: Detector) -> Detector:
    """The two smallest of every four go, and nothing makes up for them."""
    plain = copy.deepcopy(parent)
    with torch.no_grad():
        for layer in plain.weighted_layers().values():
            if isinstance(layer, nn.Linear):
                fours = layer.weight.reshape(-1, 4)
                fours.scatter_(1, fours.abs().argsort(1)[:, :2], 0.0)
    return plain


def test_without_a_layer_that_reads_in_fours_two_of_four_is_refused(tmp_path: Path) -> None:
    odd = Detector("odd", "", Preprocessing(size=32), nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU()), GapLinear(6))
    with pytest.raises(UserError, match="no convolution and no linear layer of odd reads its channels in fours"):
        prune.apply(odd, prune.Settings.model_validate({"structure": "2of4"}), work(tmp_path, odd))


# -------------------------------------------------------------------------------- at full size
@pytest.mark.slow
def test_half_of_a_whole_network(tmp_path: Path) -> None:
    size = Preprocessing(size=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    parent = tokens.lively("timm:vit_tiny_patch16_224", size)
    half = pruned(parent, tmp_path / "half", amount=0.5, frames=16)
    bare = pruned(parent, tmp_path / "bare", amount=0.5, frames=16, repair=False)
    assert 0.48 < max(shares(half, parent)) <= 0.5
    assert_heads_are_consistent(half)
    assert error(half, parent) < 0.7 * error(bare, parent)
    reread = safetensors.load_torch(safetensors.save(half, tmp_path))
    assert torch.equal(margins(reread), margins(half))
