"""How long a run takes in a Ray cluster: what its workers share, and what is left to this machine."""

from __future__ import annotations

from dataclasses import replace

from bench.commands.plan import Forecast
from bench.executors.ray import Cluster, cluster_of, connected
from bench.pipeline.estimates import Estimate, duration, total
from bench.pipeline.forecast import Stage

SHARED = ("build", "evaluate", "re-compress")
"""The stages whose work is shared out; all others are this machine's."""


def describe(forecast: Forecast, address: str | None) -> str:
    """The cluster at an address, and how long each stage takes there. `UserError` where none answers."""
    first = forecast.prepared.first
    with connected(address) as ray:
        cluster = cluster_of(ray, first.threads, first.device)
    return text(forecast.stages, cluster)


def text(stages: tuple[Stage, ...], cluster: Cluster) -> str:
    """The same of a cluster that is known, on the assumption that its machines are as fast as this one."""
    takes = {stage.name: of_stage(stage, cluster.workers) for stage in stages}
    shared = [f"{name} {duration(takes[name])}" for name in SHARED if name in takes and takes[name].high_s]
    rest = total(estimate for name, estimate in takes.items() if name not in SHARED)
    lines = [f"ray: {cluster.text}, taken to be as fast as this machine"]
    lines += [f"  there: {', '.join(shared)}"] if shared else ["  there: nothing"]
    return "\n".join([*lines, f"  here: {duration(rest)}", f"  total: {duration(total(takes.values()))}"])


def of_stage(stage: Stage, workers: int) -> Estimate:
    """How long a stage takes where so many workers share it: building, no less than its longest step."""
    if stage.name not in SHARED:
        return stage.estimate
    shared = stage.estimate * (1 / workers)
    if stage.name != "build":
        return shared
    longest = max((estimate for _, estimate in stage.parts), key=lambda each: each.high_s, default=Estimate())
    return replace(shared, low_s=max(shared.low_s, longest.low_s), high_s=max(shared.high_s, longest.high_s))
