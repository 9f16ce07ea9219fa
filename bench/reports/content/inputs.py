"""What networks see: size, channels and blend, and of several detectors all else in which they differ."""

from __future__ import annotations

from collections.abc import Mapping

from bench.records import NO_CROP, Filters, Preprocessing, RunRecord


def input_of(run: RunRecord) -> str:
    """Size, channels and blend of what its networks see."""
    preprocessing = run.preprocessing
    assert preprocessing is not None
    blend = f", {preprocessing.wavelet} wavelet blend" if preprocessing.wavelet != "none" else ""
    return f"{preprocessing.size} × {preprocessing.size} px {preprocessing.channels.upper()}{blend}"


def networks_and_inputs(runs: Mapping[str, RunRecord]) -> dict[str, str]:
    """By detector: its network, what that sees, and further preprocessing where not all have the same."""
    further = {name: _further(run.preprocessing) for name, run in runs.items() if run.preprocessing}
    differing = [
        kind for kind in range(len(_KINDS)) if len({preprocessing[kind] for preprocessing in further.values()}) > 1
    ]
    return {
        name: ", ".join([run.architecture, input_of(run), *(further[name][kind] for kind in differing)])
        for name, run in runs.items()
    }


def _further(preprocessing: Preprocessing) -> tuple[str, ...]:
    return tuple(describe(preprocessing) for describe in _KINDS)


def _fit(preprocessing: Preprocessing) -> str:
    """How a frame of another shape becomes square."""
    if preprocessing.fit == "pad":
        return f"padded ({preprocessing.pad})"
    if preprocessing.fit == "crop":
        share = f" of {100 * preprocessing.crop_pct:.3g} %" if preprocessing.crop_pct != 1 else ""
        return f"centre crop{share}"
    return "stretched"


def _filter(preprocessing: Preprocessing) -> str:
    filters = preprocessing.interpolation
    return f"{filters.down} down, {filters.up} up" if isinstance(filters, Filters) else filters


def _statistics(preprocessing: Preprocessing) -> str:
    return f"mean {_by_channel(preprocessing.mean)}, std {_by_channel(preprocessing.std)}"


def _by_channel(values: tuple[float, float, float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"[{', '.join(f'{value:g}' for value in values)}]"


def _crop(preprocessing: Preprocessing) -> str:
    return "whole frames" if preprocessing.crop == NO_CROP else f"faces cut as {preprocessing.crop}"


_KINDS = (_fit, _filter, _statistics, _crop)
