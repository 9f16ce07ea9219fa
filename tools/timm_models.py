"""Write what every classifier of timm offers and how large it is to bench/detectors/families/timm_models.json.

    python tools/timm_models.py ['convnext*' …]

Networks are built without memory, at the size that timm gives for them; with patterns, only those whose names match,
and the others stay. One that cannot be built or run with two classes is left out, and named with the reason: `bench`
then builds it itself and says the same.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import timm
import torch

from bench.artifacts.footprint import footprint_of
from bench.detectors.families import efficientnet, timm_models
from bench.records import Preprocessing

TABLE = Path(timm_models.__file__).with_suffix(".json")
_REFERENCE_SIZE = 380
_MACS_DIGITS, _PARAMETERS_DIGITS = 3, 1


def main() -> None:
    """Write the table, with progress on standard error."""
    reference = _macs_per_pixel(efficientnet, "efficientnet_b5", _REFERENCE_SIZE)
    patterns = sys.argv[1:]
    table = json.loads(TABLE.read_text(encoding="utf-8")) if patterns else {}
    left_out = []
    for name in sorted(timm.list_models(patterns or "")):
        began = time.perf_counter()
        try:
            table[name] = _row(name, reference)
        except Exception as error:
            table.pop(name, None)
            left_out.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        print(f"{name} {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    rows = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(table.items()))
    TABLE.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(f"{len(table)} networks of timm {timm.__version__}; left out ({len(left_out)}):", *left_out, sep="\n  ")


def _row(name: str, reference: float) -> tuple[list[str], float, float]:
    """What a network offers, its MACs of a pixel over the reference's, and its parameters in millions."""
    architecture = timm_models.PREFIX + name
    size = timm_models.native_size(architecture)
    macs = _macs_per_pixel(timm_models, architecture, size) / reference
    detector = _untrained(timm_models, architecture, size)
    millions = sum(parameter.numel() for parameter in detector.parameters()) / 1e6
    offers: list[str] = sorted(timm_models.offers_of(detector))
    return offers, float(f"{macs:.{_MACS_DIGITS}g}"), round(millions, _PARAMETERS_DIGITS)


def _macs_per_pixel(family: object, architecture: str, size: int) -> float:
    _, macs = footprint_of(_untrained(family, architecture, size))
    return macs / size**2


def _untrained(family: object, architecture: str, size: int):  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        return family.build(architecture, "static", Preprocessing(size=size))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
