"""Named preprocessings, as their detectors were trained with. Any field can be overridden in YAML."""

from __future__ import annotations

from bench.records import Filters, Preprocessing

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

PRESETS = {
    # FSBI: RGB in [0, 1], wavelet blend, planes stacked as B, G, R.
    "fsbi": Preprocessing(size=380, channels="bgr", wavelet="sym2", crop="fsbi"),
    # SBI: RGB in [0, 1] and nothing else.
    "sbi": Preprocessing(size=380, crop="fsbi"),
    # The statistics most public classifiers were trained with, and torchvision's filter.
    "imagenet": Preprocessing(size=224, interpolation="pil-bilinear", mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    # What timm evaluates with where a model says nothing else.
    "timm": Preprocessing(
        size=224, fit="crop", interpolation="pil-bicubic", mean=_IMAGENET_MEAN, std=_IMAGENET_STD, crop_pct=0.875
    ),
    "deepfakebench": Preprocessing(
        size=256, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop="deepfakebench"
    ),
    # As its test.py; its demo.py takes another filter.
    "effort": Preprocessing(size=224, interpolation="bicubic", mean=_CLIP_MEAN, std=_CLIP_STD, crop="deepfakebench"),
    # The DFDC winner (selimsef): the long side to 380 px, in the middle of a black square.
    "dfdc": Preprocessing(
        size=380,
        fit="pad",
        interpolation=Filters(down="area", up="bicubic"),
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        pad="centre",
    ),
    # Polimi's of ICPR 2020, faces scaled to a square of at least this size before.
    "icpr2020": Preprocessing(size=224, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "ganfingerprint": Preprocessing(
        size=256, fit="crop", interpolation="pil-bilinear", mean=_IMAGENET_MEAN, std=_IMAGENET_STD
    ),
    # ResNeXt of the DFDC: the long side to 224 px, black below and to the right.
    "resnext-dfdc": Preprocessing(
        size=224, fit="pad", interpolation="area", mean=_IMAGENET_MEAN, std=_IMAGENET_STD, crop="blazeface"
    ),
}
