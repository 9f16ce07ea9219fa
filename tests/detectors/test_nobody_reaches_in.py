"""How a detector is made of backbone and head is known to `bench/detectors/` alone."""

from __future__ import annotations

import re

from tests.support import ROOT

INSIDE = re.compile(r"\.backbone\b|\.head\b|[\"']backbone\.|[\"']head\.")


def test_nothing_outside_detectors_reaches_into_backbone_or_head() -> None:
    files = [path for path in (ROOT / "bench").rglob("*.py") if "detectors" not in path.relative_to(ROOT).parts]
    assert len(files) > 100
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if INSIDE.search(line)
    ]
    assert lines == []
    assert INSIDE.search("model.backbone.to(dtype)"), "the pattern is one that can be met"
