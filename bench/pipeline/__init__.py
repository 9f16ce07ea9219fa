"""The whole program on one screen: frames, variants, results, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.experiment import Experiments
from bench.pipeline.handover import export
from bench.pipeline.measure import build_variants, measure_variants
from bench.pipeline.plan import prepare
from bench.pipeline.render import Finished, bundle, report
from bench.records import OnEvent, silent
from bench.results import store

__all__ = ["Finished", "bundle", "export", "report", "run"]


def run(
    experiments: Experiments,
    path: Path,
    name: str | None = None,
    *,
    only: Sequence[str] = (),
    device: str | None = None,
    on_event: OnEvent = silent,
) -> Finished:
    """Everything: build what is missing, evaluate and time it, render the report.

    `path` is the experiment file, which all folders are relative to; `only` names the variants to
    run (the baseline always does), `device` overrides the file's. Raises `UserError` for bad input.
    """
    plan = prepare(experiments, path, name, only=only, device=device, on_event=on_event)
    built, failed = build_variants(plan, on_event)
    # Two runs of one experiment take turns here; the second finds what the first has done.
    with store.locked(plan.results):
        store.write_run(plan.results, measure_variants(plan, built, failed, on_event))
        return report(plan.base, plan.name, plan.settings, on_event=on_event)
