"""`bench inspect`: why variants call a frame, the frames of a folder, or those of a video, real or fake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.commands.inspect import ensembles, folder, video
from bench.commands.inspect.inspector import Inspector
from bench.commands.inspect.request import Options, Written, checked
from bench.experiment import ExperimentSettings
from bench.footage import in_front
from bench.inference.subjects import Reader
from bench.inference.variants import Chosen, choose, frames_of_sets, of_detector, of_ensemble
from bench.records import OnEvent, silent
from bench.results import store

__all__ = ["Options", "Written", "inspect"]


def inspect(
    given: Path, base: Path, name: str, settings: ExperimentSettings, options: Options, on_event: OnEvent = silent
) -> Written:
    """Write why the variants of an experiment judge a picture, a folder of them, or a video as they do.

    `base` is the folder of the experiment file. Raises `UserError` before any variant is loaded where the input can't
    be judged.
    """
    request = checked(given, options, base / "reports" / name / "inspect")

    def inspector(chosen: Chosen) -> Inspector:
        finder = in_front.finder(chosen.preprocessing.crop)
        of_set = frames_of_sets(chosen)
        return Inspector(Reader(chosen.preprocessing, options.faces, finder, of_set), chosen, options, on_event)

    looker: folder.Looker[Any]
    if (asked := of_ensemble(settings, options.variants)) is not None:
        ensemble, names = asked
        ensembles.refuse_videos(request, ensemble, settings)
        results = base / "results" / name / settings.folder(ensemble, settings.frame_sets[0])
        looker = whole = ensembles.whole(
            store.read_run(results), results, names, options,
            lambda member, variants: inspector(of_detector(base, name, settings, member, variants)),
        )  # fmt: skip
        whole.refuse_others(request)
    else:
        looker = of_detector_alone = inspector(choose(base, name, settings, options.variants))
        if request.kind == "video":
            return video.inspect(request, video.timeline(request.file), of_detector_alone, on_event)
    return (folder.picture if request.kind == "picture" else folder.inspect)(request, looker, on_event)
