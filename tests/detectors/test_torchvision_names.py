"""Checkpoints of torchvision's networks, against torchvision itself: other names and shapes, the same logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.regnet import BlockParams

from bench import detectors
from bench.detectors import families
from bench.detectors.weights import torchvision_names
from bench.errors import UserError
from bench.records import Conventions, Preprocessing, Reading
from tests.detectors.test_reading_weights import frames, prefixed

SIZE = 64
# Of these no logits are computed: their weights take more than a gigabyte.
HUGE = ("vit_huge_patch14_224", "vit_large_patch16_224", "vit_large_patch32_224", "regnety_320", "regnety_1280")
# One of each kind.
FAST = (
    "convnext_tiny", "efficientnetv2_s", "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100",
    "regnetx_004_tv", "swin_tiny_patch4_window7_224", "vit_base_patch32_224", "densenet121", "resnet18",
)  # fmt: skip


def slow_but(fast: tuple[str, ...], names: Any) -> list[Any]:
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


def small_vit() -> nn.Module:
    network: nn.Module = models.VisionTransformer(
        SIZE, 16, num_layers=6, num_heads=2, hidden_dim=64, mlp_dim=192, num_classes=2
    )
    return network


def small_convnext() -> nn.Module:
    widths, depths = (24, 32, 48, 64), (1, 2, 4, 2)
    following: tuple[int | None, ...] = (*widths[1:], None)
    stages = [CNBlockConfig(*stage) for stage in zip(widths, following, depths, strict=True)]
    network: nn.Module = ConvNeXt(stages, num_classes=2)
    for module in network.modules():  # timm's network for tests differs from its larger ones in these two
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
        elif isinstance(module, nn.GELU):
            module.approximate = "tanh"
    return network


SMALL: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "test_vit": ("vit_base_patch16_224", small_vit),
    "test_convnext": ("convnext_tiny", small_convnext),
}
"""timm's networks for tests, with the same in torchvision's classes."""


def lively(network: nn.Module, size: int = SIZE) -> nn.Module:
    """No tensor is left at 0, 1 or 1e-6, which would hide whether it is read; batch norms fit the frames."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            drawn = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() > 1 and name.endswith("weight"):
                tensor.copy_(drawn * (2 / tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(0.2 * drawn + 0.5 * name.endswith(("weight", "layer_scale")))
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None
            norm.weight.abs_()
        if norms:
            network.train()(frames(4, size).float() / 255)
    return network.eval()


def answers(network: nn.Module, size: int = SIZE) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network(frames(4, size).float() / 255)
    assert logits.std(0).max() > 1e-3, "a constant network proves nothing"
    return logits


def read(
    state: Any, folder: Path, name: str, conventions: Conventions | None = None, size: int = SIZE
) -> tuple[Tensor, Reading]:
    """The logits of the frames by what is read from a file with these weights."""
    torch.save(state, folder / "w.pth")
    detector, reading = detectors.read(f"timm:{name}", folder / "w.pth", Preprocessing(size=size), conventions)
    with torch.inference_mode():
        return detector(frames(4, size)).logits, reading


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (like, _) in SMALL.items():
        monkeypatch.setitem(torchvision_names.NETWORKS, name, torchvision_names.NETWORKS[like])


def network_of(name: str, **settings: Any) -> nn.Module:
    """torchvision's network of two classes, that timm calls `name`."""
    torch.manual_seed(0)
    if name in SMALL:
        return SMALL[name][1]()
    network: nn.Module = models.get_model(torchvision_names.SYNONYMS[name], num_classes=2, **settings)
    return network


# --------------------------------------------------------------------------------------- names and shapes
@pytest.mark.parametrize("name", slow_but(FAST, torchvision_names.NETWORKS))
def test_every_tensor_has_its_name_and_shape(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No numbers are made: torchvision's RegNets alone compute a few for their widths."""
    of_init, kind = BlockParams.from_init_params, torchvision_names.NETWORKS[name][1]

    def on_cpu(*args: Any, **settings: Any) -> Any:
        with torch.device("cpu"):
            return of_init(*args, **settings)

    monkeypatch.setattr(BlockParams, "from_init_params", on_cpu)
    with torch.device("meta"):
        of_timm: Any = timm.create_model(name, num_classes=2)
        expected = shapes(network_of(name), kind.head, kind.constants)
    given = shapes(of_timm, of_timm.default_cfg["classifier"])
    scheme = torchvision_names.scheme(name, lambda tensor: tensor.removeprefix("head.layers."))
    if scheme:
        stored = scheme.stored({f"head.layers.{tensor}": shape for tensor, shape in given.items()})
        given = {scheme.rename(tensor): shape for tensor, shape in stored.items()}
    assert given == expected
    assert bool(scheme) == (kind.rename is not None)


def shapes(network: nn.Module, head: str, constants: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Of all but the last layer, counters and what follows from the shape."""
    return {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.startswith(f"{head}.") and name.rpartition(".")[2] not in ("num_batches_tracked", *constants)
    }


# ------------------------------------------------------------------------------------------------- logits
@pytest.mark.parametrize("name", [*SMALL, "mobilenetv3_small_100", "mobilenetv2_100", "regnety_004"])
def test_logits_are_those_of_torchvision(name: str, small: None, tmp_path: Path) -> None:
    network = lively(network_of(name))
    logits, reading = read({"state_dict": prefixed(dict(network.state_dict()), "module.")}, tmp_path, name)
    torch.testing.assert_close(logits, answers(network), atol=1e-4, rtol=1e-4)
    assert reading.names == "names of torchvision behind state_dict.module"
    assert not reading.warnings


class TakenApart(nn.Module):
    """The usual way to put a layer of one's choice behind a network of torchvision's."""

    def __init__(self, network: nn.Module, head: nn.Linear, *, in_sequence: bool) -> None:
        super().__init__()
        children = list(network.children())
        whole = nn.Sequential(*children[:-1], nn.Flatten(), head)
        self.model = whole if in_sequence else nn.Sequential(*children[:-1])
        self.fc = nn.Identity() if in_sequence else head

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.model(frames).flatten(1))
        return logits


class TakenFeatures(nn.Module):
    """What reads the frames, under another name."""

    def __init__(self, network: Any, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = network.features, head

    def forward(self, frames: Tensor) -> Tensor:
        features = nn.functional.relu(self.backbone(frames)).mean((2, 3))
        logits: Tensor = self.head(features)
        return logits


@pytest.mark.parametrize("form", ["children and a head", "children and a head in a sequence", "features"])
def test_networks_that_were_taken_apart(form: str, tmp_path: Path) -> None:
    name = "densenet121" if form == "features" else "resnet18"
    whole = network_of(name)
    head = nn.Linear(1024 if form == "features" else 512, 2)
    is_sequence = form.endswith("sequence")
    taken = TakenFeatures(whole, head) if form == "features" else TakenApart(whole, head, in_sequence=is_sequence)
    network = lively(taken)
    state = network.state_dict()
    assert not {"layer1", "features"} & {part for tensor in state for part in tensor.split(".")}
    logits, reading = read({"state_dict": state}, tmp_path, name)
    torch.testing.assert_close(logits, answers(network), atol=1e-4, rtol=1e-4)
    assert not reading.warnings


def test_what_was_taken_out_of_a_larger_network_is_no_smaller_one(tmp_path: Path) -> None:
    network = TakenApart(network_of("resnet34"), nn.Linear(512, 2), in_sequence=False)
    with pytest.raises(UserError, match=r"left over \(\d+\): model\.4\.2"):
        read(network.state_dict(), tmp_path, "resnet18")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in torchvision_names.NETWORKS if name not in HUGE])
def test_logits_of_whole_networks(name: str, tmp_path: Path) -> None:
    """In float64, all but the logits: through a hundred random layers what float32 rounds grows beyond 1e-4."""
    size = 224 if name.startswith("swin") else SIZE
    settings = {"image_size": size} if name.startswith("vit") else {}
    network = lively(network_of(name, **settings), size)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    detector, reading = detectors.read(f"timm:{name}", tmp_path / "w.pth", Preprocessing(size=size))
    detector.double()
    with torch.inference_mode():
        expected = network.double()(detector.preprocess(frames(4, size)))
        logits = detector(frames(4, size)).logits
    assert expected.std(0).max() > 1e-3, "a constant network proves nothing"
    torch.testing.assert_close(logits.double(), expected, atol=1e-6, rtol=1e-6)
    assert not reading.warnings


@pytest.mark.slow
def test_windows_that_do_not_divide_the_frame(tmp_path: Path) -> None:
    """timm shifts these maps before it fills them up, and gives its windows another size where a map is smaller."""
    name = "swin_tiny_patch4_window7_224"
    state = network_of(name).state_dict()
    with pytest.raises(UserError, match=r"computes frames of 256 px otherwise .*set `size` to 224 or a multiple"):
        read(state, tmp_path, name, size=256)
    with pytest.raises(UserError, match=r"relative_position_bias_table is \[169, 24\], expected"):
        read(state, tmp_path, name, size=192)


# -------------------------------------------------------------------------------------------------- heads
HEADS: dict[str, tuple[str, Callable[[Any], None]]] = {
    "last layer anew": ("test_convnext", lambda net: net.classifier.__setitem__(2, nn.Linear(64, 2))),
    "with dropout": ("test_convnext", lambda net: net.classifier.__setitem__(2, dropped(64, 2))),
    "heads as one layer": ("test_vit", lambda net: setattr(net, "heads", nn.Linear(64, 2))),
    "heads in a sequence": ("test_vit", lambda net: setattr(net, "heads", dropped(64, 2))),
    "mobile": ("mobilenetv3_small_100", lambda net: net.classifier.__setitem__(3, nn.Linear(1024, 2))),
}


def dropped(features: int, logits: int) -> nn.Module:
    return nn.Sequential(nn.Dropout(), nn.Linear(features, logits))


@pytest.mark.parametrize("head", HEADS)
def test_replaced_heads(head: str, small: None, tmp_path: Path) -> None:
    name, replace = HEADS[head]
    network = network_of(name)
    replace(network)
    logits, _ = read(lively(network).state_dict(), tmp_path, name)
    torch.testing.assert_close(logits, answers(network), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [*SMALL, "mobilenetv3_small_100"])
def test_one_logit_as_its_owner_says(name: str, small: None, tmp_path: Path) -> None:
    network: Any = network_of(name)
    part = network.heads if name == "test_vit" else network.classifier
    part[-1] = nn.Linear(part[-1].in_features, 1)
    state = lively(network).state_dict()
    logits, _ = read(state, tmp_path, name, Conventions(positive="real"))
    torch.testing.assert_close(logits[:, 0] - logits[:, 1], answers(network)[:, 0], atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="add `positive: fake`"):
        read(state, tmp_path, name)


def test_another_computation_is_refused(small: None, tmp_path: Path) -> None:
    """A head over the means alone, without what lies before it; and a layer more."""
    mobile: Any = network_of("mobilenetv3_small_100")
    mobile.classifier = nn.Linear(576, 2)
    with pytest.raises(UserError, match=r"names are those of torchvision\n.*missing.*classifier\.0\.weight"):
        read(mobile.state_dict(), tmp_path, "mobilenetv3_small_100")
    deeper = models.VisionTransformer(
        SIZE, 16, num_layers=6, num_heads=2, hidden_dim=64, mlp_dim=192, num_classes=2, representation_size=64
    )
    with pytest.raises(UserError, match=r"heads\.pre_logits"):
        read(deeper.state_dict(), tmp_path, "test_vit")


# --------------------------------------------------------------------------------------------- arithmetic
def test_eps_follows_from_the_names_or_is_given(tmp_path: Path) -> None:
    network = lively(network_of("mobilenetv3_small_100"))
    logits, reading = read(network.state_dict(), tmp_path, "mobilenetv3_small_100")
    assert reading.arithmetic == "arithmetic torchvision, by the names: batch-norm eps 1e-3, as torchvision's"
    others, reading = read(network.state_dict(), tmp_path, "mobilenetv3_small_100", Conventions(flavour="timm"))
    assert reading.arithmetic == "arithmetic timm, as given: batch-norm eps 1e-5, as timm's"
    assert (logits - others).abs().max() > 1e-2


@pytest.mark.parametrize("name", [name for name in FAST if torchvision_names.eps(name)])
def test_flavours_have_the_eps_that_they_say(name: str) -> None:
    family: Any = families.find(f"timm:{name}")
    for flavour, eps in (("timm", 1e-5), ("torchvision", 1e-3), ("", 1e-5)):
        with torch.device("meta"):
            detector = family.build(f"timm:{name}", flavour, Preprocessing(size=SIZE))
        assert {module.eps for module in detector.modules() if isinstance(module, nn.BatchNorm2d)} == {eps}
    assert families.meaning(f"timm:{name}", "torchvision") == "batch-norm eps 1e-3, as torchvision's"


# ----------------------------------------------------------------------------------------------- messages
@pytest.mark.parametrize(
    ("architecture", "meant"),
    [
        ("vit_b_16", "timm:vit_base_patch16_224"),
        ("convnext_small", "timm:convnext_small"),
        ("timm:swin_t", "swin_tiny_patch4_window7_224"),
        ("mobilenet_v3_large", "timm:mobilenetv3_large_100"),
    ],
)
def test_other_names_of_an_architecture_are_understood(architecture: str, meant: str) -> None:
    with pytest.raises(UserError, match=rf"did you mean '{meant}'"):
        families.find(architecture)


def test_a_file_of_another_network_is_recognised(tmp_path: Path) -> None:
    network = network_of("regnety_004")
    with pytest.raises(UserError, match=r"they look like timm:regnety_004: set `architecture: timm:regnety_004`"):
        read(network.state_dict(), tmp_path, "resnet34")
