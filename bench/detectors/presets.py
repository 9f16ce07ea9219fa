"""Named preprocessings, as their detectors were trained with. Any field can be overridden in YAML."""

from __future__ import annotations

from bench.records import Preprocessing

PRESETS = {
    # FSBI: RGB in [0, 1], wavelet blend, planes stacked as B, G, R.
    "fsbi": Preprocessing(size=380, channels="bgr", wavelet="sym2"),
    # SBI: RGB in [0, 1] and nothing else.
    "sbi": Preprocessing(size=380),
    # The statistics most public classifiers were trained with.
    "imagenet": Preprocessing(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}
