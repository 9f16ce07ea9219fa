"""What a reader of the report must know of an artifact beside its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.records import Built, Recovery
from bench.stored import MOST_BYTES, open_file, parsed
from bench.variants import description
from bench.variants.steps import Use

TOOK = "its last step took"
_MIB = 2**20
# Bytes a weight.
_FLOATS = {"F32": 4, "F16": 2, "BF16": 2}
_GROUP, _ZEROS = 4, 2


def recovered(built: Built) -> tuple[Recovery, ...]:
    """What each `recover` on the way to an artifact did, by the records of the artifacts on that way."""
    folder = built.file.parent.parent
    told = description.find(folder, built.id)
    # An ancestor need not be kept for its descendant.
    found = (description.find(folder, link.id) for link in (told.lineage if told else ()))
    return tuple(one.recover.record for one in found if one and one.recover)


def notes(chain: Sequence[Use], built: Built, baseline: Built) -> tuple[str, ...]:
    """Sentences for people, without their full stop."""
    if not chain:
        return ()
    took = f"{TOOK} {built.seconds:.0f} s"
    took_more = tuple(_remarks(chain, baseline, built))
    structures = {getattr(use.settings, "structure", "structured") for use in chain}
    if structures == {"structured"}:
        return (took, *took_more)
    return (took, *took_more, *_of_zeros(built, baseline, _skipped(built) if "2of4" in structures else ""))


def _remarks(chain: Sequence[Use], before: Built, after: Built) -> Iterator[str]:
    """What the steps say of what they took; of a step that stands there twice nobody knows which took what."""
    for use in chain:
        remark = getattr(use.step, "remark", None)
        is_alone = [other.name for other in chain].count(use.name) == 1
        if remark and is_alone and (text := remark(use.settings, before, after)):
            yield text


def _of_zeros(built: Built, baseline: Built, elsewhere: str) -> tuple[str, ...]:
    """What zeros that are scattered over the weights are worth: nothing but a smaller archive, if not `elsewhere`."""
    if built.zeros is None or built.zstd_bytes is None:
        return ()
    beside = f" (the baseline: {baseline.zstd_bytes / _MIB:.1f} MiB)" if baseline.zstd_bytes else ""
    return (
        f"{100 * built.zeros:.1f} % of the weights are zero; they are stored like any others, so the file is no "
        f"smaller for them ({built.size_bytes / _MIB:.1f} MiB); zstd would make it {built.zstd_bytes / _MIB:.1f} MiB"
        f"{beside}; nothing here computes faster for zeros{elsewhere}",
    )


def _skipped(built: Built) -> str:
    """Where sparse tensor cores could skip zeros: by the format of the file, and by the weights that are in it."""
    if built.kind != "torch":
        return ""
    try:
        found = list(_two_of_four(built.file))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        return ""  # whoever loads the file says what is wrong with it
    if not any(found):
        return ""
    within = "" if all(found) else f" in {sum(found)} of {len(found)} convolutions"
    able = "in half precision" if built.stored in ("fp16", "bf16") else "cast to half precision"
    return f"; {able}, TensorRT can skip two of every four{within} on NVIDIA GPUs from Ampere on"


def _two_of_four(file: Path) -> Iterator[bool]:
    """For every convolution that reads its channels in fours, whether at least two of each four weights are zero.

    Read from the bytes of a safetensors file, since NumPy has no bf16.
    """
    import numpy as np

    with open_file(file) as stored:
        length = int.from_bytes(stored.read(8), "little")
        header = parsed(stored.read(min(length, MOST_BYTES)).decode("utf-8"))
        begin = stored.tell()
        for name, told in header.items():
            shape, size = told.get("shape", ()), _FLOATS.get(told.get("dtype"))
            if size is None or not name.startswith("backbone.") or len(shape) != 4 or shape[1] % _GROUP:
                continue
            stored.seek(begin + told["data_offsets"][0])
            bits = np.frombuffer(stored.read(size * math.prod(shape)), f"<u{size}").reshape(shape)
            # Shifted out is the sign, which a zero may have.
            fours = np.moveaxis(bits << 1, 1, -1).reshape(-1, _GROUP)
            yield bool(((fours == 0).sum(axis=1) >= _ZEROS).all())
