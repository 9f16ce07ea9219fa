"""What int8 costs a small vision transformer, and its hard twin: the same function with uneven channels.

Six blocks of width 192 at 96 px, trained from scratch on drawn portraits and their fakes, which are self-blended
several times over: a cue that so small a network learns from so few frames. Where pixels changed is a second target in
training. What is done is kept in `--folder`, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from testbed import show
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import bench
from bench.datasets.blends import self_blend
from bench.datasets.portraits import draw_portrait, to_uint8
from bench.files import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "vit_six_patch16_96"
SIZE, PATCH = 96, 16
TIMES = 3
"""How often a fake is blended: the cue grows with each."""
OCTAVES = 4.0
"""A channel of the twin is multiplied by 2 to a power between minus this and this."""
SEEDS = {"train": 75_000_000, "test": 76_000_000, "calibration": 77_000_000}
VARIANTS = {
    "baseline": "[]",
    "q16": "[cast: fp16]",
    "q8": "[quantize: int8]",
    "q8-weights": "[quantize: {weights: int8}]",
}


@register_model
def vit_six_patch16_96(pretrained: bool = False, **settings: Any) -> VisionTransformer:
    """Six blocks of width 192, untrained; timm finds it by its name."""
    assert not pretrained
    shape: dict[str, Any] = {"img_size": SIZE, "patch_size": PATCH, "embed_dim": 192, "depth": 6, "num_heads": 3}
    timms = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    return VisionTransformer(**shape | {key: value for key, value in settings.items() if key not in timms})


def main() -> None:
    """Train unless that is done, run the experiment, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where frames, weights and results are kept")
    parser.add_argument("--steps", type=int, default=1000, help="train steps of 32 pairs; 1000 without it")
    parser.add_argument("--test-pairs", type=int, default=1000, help="portraits with their fakes; 1000 without it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="all cores without it")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.folder.mkdir(parents=True, exist_ok=True)
    weights = given.folder / "vit.safetensors"
    if not weights.exists():
        save_file(trained(given.folder, given.steps).state_dict(), weights)
    save_file(twin(load_file(weights)), given.folder / "twin.safetensors")
    for split, count in {"test": given.test_pairs, "calibration": 64}.items():
        write_frames(given.folder / "faces" / split, split, count)
    path = given.folder / "experiments.yaml"
    path.write_text(experiment(given.threads), encoding="utf-8")
    bench.run("vit", path, timing=False)
    report(given.folder)


# ----------------------------------------------------------------------------------------- frames
def pair(seed: int, index: int) -> NDArray[np.uint8]:
    """A portrait and its fake, uint8 RGB [2, 96, 96, 3]."""
    rng = np.random.default_rng([seed, index])
    portrait, face = draw_portrait(rng, SIZE)
    fake = portrait
    for _ in range(TIMES):
        fake = self_blend(rng, fake, face).image
    return np.stack([to_uint8(portrait), to_uint8(fake)])


def write_frames(folder: Path, split: str, count: int) -> None:
    """`count` portraits below real/ and as many fakes, of other portraits, below fake/."""
    from PIL import Image

    for label, name in enumerate(("real", "fake")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(label * count, (label + 1) * count):
            file = folder / name / f"{index:05d}.png"
            if not file.exists():
                Image.fromarray(pair(SEEDS[split], index)[label]).save(file)


def stored_pairs(path: Path, count: int) -> NDArray[np.uint8]:
    """`count` pairs for training, uint8 [count, 2, 3, 96, 96], drawn once."""
    if not path.exists():
        drawn = np.stack([pair(SEEDS["train"], index).transpose(0, 3, 1, 2) for index in range(count)])
        write_atomically(path, lambda file: np.save(file, drawn))
    pairs: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return pairs


def batches(pairs: NDArray[np.uint8], size: int) -> Iterator[Tensor]:
    """`size` pairs at a time for ever, uint8 [2 * size, 3, 96, 96], portraits before fakes, mirrored by chance."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(pairs))
        for start in range(0, len(order) - size + 1, size):
            chosen = pairs[np.sort(order[start : start + size])]
            mirrored = chosen[..., ::-1] if rng.random() < 0.5 else chosen
            yield torch.from_numpy(np.concatenate([mirrored[:, 0], mirrored[:, 1]]))


# --------------------------------------------------------------------------------------- training
def trained(folder: Path, steps: int, size: int = 32, peak: float = 1e-3) -> VisionTransformer:
    """The network after `steps` batches of `size` pairs, in evaluation mode; progress goes to standard output."""
    torch.manual_seed(0)
    pairs = stored_pairs(folder / "train.npy", 6400)
    pairs, held_out = pairs[:-400], pairs[-400:]
    network: VisionTransformer = vit_six_patch16_96(num_classes=2)
    where = nn.Linear(network.embed_dim, 1)
    parameters = [*network.parameters(), *where.parameters()]
    optimizer = torch.optim.AdamW(parameters, peak, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, steps, pct_start=0.1)
    labels, began = torch.tensor([0] * size + [1] * size), time.monotonic()
    for step, frames in zip(range(1, steps + 1), batches(pairs, size), strict=False):
        network.train()
        tokens = network.forward_features(scaled(frames))
        loss = F.cross_entropy(network.forward_head(tokens), labels)
        second = F.binary_cross_entropy_with_logits(where(tokens[:, 1:])[..., 0], changed(frames))
        optimizer.zero_grad()
        (loss + second).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            print(f"step {step}/{steps}  loss {loss:.3f}  {(time.monotonic() - began) / step:.2f} s/step", flush=True)
        if step % 250 == 0 or step == steps:
            print(f"held-out ROC AUC {auc(network, held_out):.4f} on {2 * len(held_out)} frames", flush=True)
    network.eval()
    return network


def scaled(frames: Tensor) -> Tensor:
    return frames.float() / 127.5 - 1


def changed(frames: Tensor) -> Tensor:
    """Whether a fake's patch differs from its portrait's, [2 * pairs, patches], 0 or 1; for portraits 0."""
    real, fake = frames.float().chunk(2)
    difference = F.avg_pool2d((fake - real).abs().mean(1, keepdim=True), PATCH).flatten(1)
    return torch.cat([torch.zeros_like(difference), (difference > 2).float()])


@torch.inference_mode()
def auc(network: VisionTransformer, pairs: NDArray[np.uint8]) -> float:
    frames = torch.from_numpy(np.concatenate([pairs[:, 0], pairs[:, 1]]))
    logits = torch.cat([network.eval()(scaled(part)) for part in torch.split(frames, 64)])
    return float(roc_auc_score([0] * len(pairs) + [1] * len(pairs), (logits[:, 1] - logits[:, 0]).numpy()))


def twin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same function, its normalised tokens and its values as uneven as the worst of large transformers.

    Each channel is multiplied by its own factor where a norm or `qkv` writes it, and divided where it is read.
    """
    generator = torch.Generator().manual_seed(0)

    def factors(count: int) -> Tensor:
        return torch.exp2((torch.rand(count, generator=generator) * 2 - 1) * OCTAVES)

    state = {name: tensor.clone() for name, tensor in state.items()}
    for block in sorted({name.rsplit(".norm1.", 1)[0] for name in state if ".norm1." in name}):
        for norm, reader in ((f"{block}.norm1", f"{block}.attn.qkv"), (f"{block}.norm2", f"{block}.mlp.fc1")):
            scale = factors(len(state[f"{norm}.weight"]))
            state[f"{norm}.weight"] *= scale
            state[f"{norm}.bias"] *= scale
            state[f"{reader}.weight"] /= scale
        proj = state[f"{block}.attn.proj.weight"]
        scale = factors(proj.shape[1])
        for name in (f"{block}.attn.qkv.weight", f"{block}.attn.qkv.bias"):
            values = state[name][-len(scale) :]
            values *= scale.reshape(-1, *[1] * (values.ndim - 1))
        proj /= scale
    return state


# -------------------------------------------------------------------------------------- measuring
def experiment(threads: int) -> str:
    """Both detectors side by side, on the same frames."""
    variants = "\n".join(
        f"      {name.replace(', ', '-').replace(' ', '-')}: {chain}" for name, chain in VARIANTS.items()
    )
    detectors = "\n".join(
        f"  {name}: {{architecture: timm:{NAME}, weights: {name}.safetensors, "
        f"preprocessing: {{size: {SIZE}, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}}}"
        for name in ("vit", "twin")
    )
    return f"""detectors:
{detectors}
datasets:
  drawn: {{path: faces}}
experiments:
  vit:
    detectors: [vit, twin]
    frames: drawn
    device: cpu
    threads: {threads}
    gallery: {{top: 1, occlusion: false}}
    variants:
{variants}
"""


def report(folder: Path) -> None:
    """One row a variant: what it lost against the baseline of its own detector."""
    scores = json.loads((folder / "reports" / "vit" / "scores.json").read_text(encoding="utf-8"))
    rows = []
    for detector, of_detector in scores["detectors"].items():
        for name, variant in of_detector["variants"].items():
            if variant["status"] != "ok":
                rows.append((detector, name, variant["reason"], "", "", ""))
                continue
            moved = np.abs(p_fake(folder, detector, name) - p_fake(folder, detector, "baseline")).mean()
            quality = (f"{variant['auc']:.4f}", f"{variant['auc_delta']:+.4f}", f"{moved:.4f}")
            rows.append((detector, name, *quality, variant["int8"] or ""))
    count = scores["frames"]["test"]["count"]
    show(
        "int8 on a vision transformer",
        ("detector", "variant", "AUC", "ΔAUC", "mean change of P(fake)", "int8"),
        rows,
        f"{count} test frames, half of them fakes, of as many drawn portraits.",
        ("bench", "onnxruntime", "timm", "torch"),
    )


def p_fake(folder: Path, detector: str, variant: str) -> NDArray[np.float64]:
    """P(fake) of the test frames, in their order [n]."""
    table = pd.read_parquet(folder / "results" / "vit" / detector / variant / "predictions.parquet")
    scores: NDArray[np.float64] = table.loc[table["split"] == "test", "p_fake"].to_numpy()
    return scores


if __name__ == "__main__":
    main()
