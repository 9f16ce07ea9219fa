"""A search for the smallest variant, from the experiment file to the report."""

from __future__ import annotations

from pathlib import Path

from bench import pipeline
from bench.experiment import read
from bench.records import Event

EXPERIMENT = "{find: smallest, keep: {auc_drop: 0.2}}"


def test_the_smallest_is_found(workplace: Path) -> None:
    path = workplace / "experiments.yaml"
    text = path.read_text()
    print(text)
    head, _, _ = text.partition("    variants:")
    path.write_text(f"{head}    variants: {{baseline: [], best: {EXPERIMENT}}}\n")
    events: list[Event] = []
    finished = pipeline.run(read(path), path, timing="none", on_event=events.append)
    print(finished.failed)
    for v in finished.run.variants:
        print(v.name, v.steps, v.status, v.footprint)
    print((workplace / "results" / "first" / "best" / "search" / "trail.json").read_text())
    assert 0
