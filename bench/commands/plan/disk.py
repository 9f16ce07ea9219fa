"""How much a run will write."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.pipeline import estimates
from bench.pipeline.forecast import Row, heatmaps, pending, undrawn
from bench.pipeline.history import History
from bench.pipeline.prepared import Prepared

HEATMAP_BYTES, REPORT_BYTES, DRAWN_FRAME_BYTES = 20_000, 500_000, 8_000
CROP_BYTES = {"png": 200_000, "jpg": 60_000}
"""Of a face of 300 pixels; whole frames have more."""


def writes_bytes(
    prepared: Prepared, rows: Sequence[Row], exports: Sequence[Row], history: History, *, renders: bool
) -> int | None:
    """Bytes that a run will write; None where the size of the network is unknown."""
    artifacts = _artifact_bytes(rows, exports, history)
    if artifacts is None:
        return None
    # A score's row, and the map of 32 pixels to a cell; twice, since shards are merged before they go.
    predicted = sum(2 * row.frames * (100 + 4 * math.ceil(row.setup.spec.size / 32) ** 2) for row in rows)
    predicted += sum(2 * 100 * sum(row.degraded.values()) for row in rows)
    due = pending(prepared).values()
    drawn = sum(each.frames * CROP_BYTES[each.form] for each in due) if due else undrawn(prepared) * DRAWN_FRAME_BYTES
    rendered = heatmaps(prepared) * HEATMAP_BYTES + len(prepared.setups) * REPORT_BYTES if renders else 0
    return artifacts + predicted + drawn + rendered


def _artifact_bytes(rows: Sequence[Row], exports: Sequence[Row], history: History) -> int | None:
    """Bytes of the artifacts that are built, and of the ONNX files that are exported beside them."""
    written = 0.0
    for row in rows:
        detector = estimates.weights_bytes(row.setup, history)
        if detector is None:
            if row in exports or any(not link.built for link in row.links):
                return None
            continue
        stored = numbers = float(detector)
        for use, link in zip((None, *row.chain), row.links, strict=True):
            if use:
                stored, numbers = estimates.bytes_left(use, stored, numbers)
            written += stored if not link.built and link.of is None else 0
        # What is exported is in fp32, however it was stored.
        written += numbers if row in exports else 0
    return round(written)
