"""How much a run will write."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.pipeline import estimates
from bench.pipeline.forecast import Row, heatmaps, is_drawn
from bench.pipeline.history import History
from bench.pipeline.prepare import Prepared

HEATMAP_BYTES, REPORT_BYTES, DRAWN_FRAME_BYTES = 20_000, 500_000, 8_000


def writes_bytes(
    prepared: Prepared, rows: Sequence[Row], exports: Sequence[Row], history: History, *, renders: bool
) -> int | None:
    """Bytes that a run will write; None where the size of the network is unknown."""
    artifacts = _artifact_bytes(prepared, rows, exports, history)
    if artifacts is None:
        return None
    # A score's row, and the map of 32 pixels to a cell; twice, since shards are merged before they go.
    predicted = sum(row.frames for row in rows) * 2 * (100 + 4 * math.ceil(prepared.spec.size / 32) ** 2)
    drawn = (
        0 if is_drawn(prepared) else sum(len(frames.frames) for frames in prepared.frames.values()) * DRAWN_FRAME_BYTES
    )
    rendered = heatmaps(prepared) * HEATMAP_BYTES + REPORT_BYTES if renders else 0
    return artifacts + predicted + drawn + rendered


def _artifact_bytes(prepared: Prepared, rows: Sequence[Row], exports: Sequence[Row], history: History) -> int | None:
    """Bytes of the artifacts that are built, and of the ONNX files that are exported beside them."""
    detector = estimates.weights_bytes(prepared, history)
    if detector is None:
        due = exports or any(not link.built for row in rows for link in row.links)
        return None if due else 0
    written = 0.0
    for row in rows:
        stored = numbers = float(detector)
        for use, link in zip((None, *prepared.chains[row.name]), row.links, strict=True):
            if use:
                stored, numbers = estimates.bytes_left(use, stored, numbers)
            written += stored if not link.built and link.of is None else 0
        # What is exported is in fp32, however it was stored.
        written += numbers if row in exports else 0
    return round(written)
