"""Between preparing and building: find the chains of variants that are set as searches.

The chains that steps declare are foretold at once: sizes, times, and the noise that they add to the logit difference.
The best of those that are foretold to keep the verdict is built and judged on validation frames, what it measured
corrects the forecast, and so on until nothing better is left. The chain that is taken then stands in the experiment as
if it had been written by hand, with the same ids, and is confirmed on the test frames, which no search looks at.
"""

from __future__ import annotations

from bench.pipeline import journal
from bench.pipeline.prepared import Prepared, Setup
from bench.pipeline.search import trails
from bench.records import OnEvent, SearchTrail

__all__ = ["search_variants"]


def search_variants(prepared: Prepared, on_event: OnEvent) -> Prepared:
    """The experiment with the chains of all selected searches; one that fails does not stop the others."""
    if not any(setup.searches_due for setup in prepared.setups):
        return prepared
    by_detector = {detector: _searched(setup, on_event) for detector, setup in prepared.by_detector.items()}
    setups = []
    for setup in prepared.setups:
        by_name, unfound = by_detector[setup.detector_name]
        setups.append(trails.with_trails(setup, by_name, unfound))
    return Prepared(tuple(setups))


def _searched(setup: Setup, on_event: OnEvent) -> tuple[dict[str, SearchTrail], dict[str, str]]:
    """The trails of the searches of a detector that were due, and for each that failed the reason."""
    from bench.pipeline.search.searching import search

    by_name: dict[str, SearchTrail] = {}
    unfound: dict[str, str] = {}
    for name in setup.searches_due:
        try:
            trail = search(setup, name, on_event)
        except Exception as error:
            unfound[name] = journal.failure(f"searching {setup.title(name)}", error)
            continue
        if trail.winner:
            by_name[name] = trail
        else:
            reasons = dict.fromkeys(chain.reason for chain in trail.candidates if chain.reason)
            unfound[name] = f"no chain could be built: {'; '.join(reasons) or trail.ended}"
    return by_name, unfound
