"""Videos out of frames: which frames a video has, and its score.

A frame's several faces count by their maximum, and the video's score is the mean of its frames' P(fake), the highest,
or the mean of the highest few. It is made of P(fake), not of logits: published AUCs per video rank these means.
The identical frames of a video weigh together as one, and so do videos that consist of the same frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import UserError, listed, quoted
from bench.records import (
    SCORE_OF_MISSING,
    LabelledFrames,
    MissingVideo,
    Predictions,
    RunRecord,
    Videos,
    VideoScoring,
    joined_sources,
)

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def group(frames: LabelledFrames, missing: Sequence[MissingVideo] = ()) -> Videos | None:
    """The videos of the frames of a split, and those without frames that count; None where a frame names no video.

    Raises `UserError` where a video has real and fake frames.
    """
    if frames.videos is None or not len(frames.videos) or frames.videos.isna().any():
        return None
    codes, values = frames.videos.factorize()
    names = [str(name) for name in values]
    refuse_mixed(codes, names, frames)
    order = np.lexsort((_numbers(frames), codes))
    bounds = np.append(0, np.cumsum(np.bincount(codes, minlength=len(names))))
    first_rows = order[bounds[:-1]]
    contents = _numbered(frames.firsts if frames.firsts is not None else np.arange(len(codes)))
    stills = _stills(frames, codes, contents)[order]
    return Videos(
        names=_series([*names, *(video.name for video in missing)]),
        labels=np.append(frames.labels[first_rows], [video.label for video in missing]).astype(np.int8),
        sources=_series([*_sources(frames, codes, len(names)), *(video.source for video in missing)]),
        attributes=_attributes(frames, codes, first_rows, len(missing)),
        rows=order,
        bounds=np.append(bounds, np.full(len(missing), bounds[-1])),
        stills=stills,
        firsts=None if frames.firsts is None else _firsts(contents[order], bounds, len(missing)),
        measured=_means(frames, codes, len(names) + len(missing)),
        missing=tuple(missing),
    )


def of_run(
    run: RunRecord, test: LabelledFrames, validation: LabelledFrames | None
) -> tuple[Videos | None, Videos | None]:
    """The test and the validation videos of a run, with those without frames where these count."""
    of_splits: list[Videos | None] = []
    for split, frames in (("test", test), ("validation", validation)):
        counts = run.videos.get(split)
        if counts is None or frames is None:
            of_splits.append(None)
        else:
            of_splits.append(group(frames, counts.missing if run.video_scoring.missing != "exclude" else ()))
    return of_splits[0], of_splits[1]


def labelled(videos: Videos) -> LabelledFrames:
    """The videos as what is scored: a row for each."""
    return LabelledFrames(
        videos.names, videos.labels, videos.sources, videos.attributes, videos.firsts, measured=videos.measured
    )


def scores(videos: Videos, p_fake: NDArray[np.float64], scoring: VideoScoring) -> NDArray[np.float64]:
    """P(fake) of each video [v], from that of all frames of the split [n]; those without frames as `scoring` says."""
    present = videos.present
    of_missing = np.full(len(videos.labels) - present, SCORE_OF_MISSING.get(scoring.missing, np.nan))
    if not present:
        return of_missing
    # The faces of a frame by their maximum, and then a video's stills lie together: they are numbered video by video.
    stills = np.full(int(videos.stills.max()) + 1, -np.inf)
    np.maximum.at(stills, videos.stills, p_fake[videos.rows])
    of_video = np.zeros(len(stills), np.int64)
    of_video[videos.stills] = np.repeat(np.arange(present), np.diff(videos.bounds[: present + 1]))
    return np.append(_of_stills(stills, of_video, scoring), of_missing)


def most_frequent(videos: Videos, column: pd.Series[str]) -> pd.Series[str]:
    """The value [v] that most frames of each video have in a column [n], the first in order where several do.

    Missing where no frame has any.
    """
    codes, values = column.iloc[videos.rows].factorize(sort=True)
    of_video = np.repeat(np.arange(len(videos.labels)), np.diff(videos.bounds))
    counts = np.zeros((len(videos.labels), len(values) + 1), np.int64)  # the last is that of missing ones, code -1
    np.add.at(counts, (of_video, codes), 1)
    counts[:, -1] = 0
    return _series(values[int(row.argmax())] if row.any() else None for row in counts)


def of_one_video(stills: NDArray[np.float64], scoring: VideoScoring) -> float:
    """P(fake) of a video from that of its frames [s], each the highest of its faces."""
    return float(_of_stills(stills, np.zeros(len(stills), np.int64), scoring)[0])


def predictions(frames: Predictions, test: Videos, validation: Videos | None, scoring: VideoScoring) -> Predictions:
    """The scores of videos as a variant's predictions, without logits: a mean of P(fake) has none."""
    of_validation = None
    if validation is not None and frames.validation is not None:
        of_validation = scores(validation, frames.validation, scoring)
    assumed = np.arange(len(test.labels)) >= test.present if test.missing else None
    return Predictions(scores(test, frames.test, scoring), of_validation, None, assumed=assumed)


def _of_stills(stills: NDArray[np.float64], of_video: NDArray[np.int64], scoring: VideoScoring) -> NDArray[np.float64]:
    """The score of each video from those of its stills [s], which lie together, by the number [s] of their video."""
    starts = np.flatnonzero(np.append(True, np.diff(of_video) > 0))
    if scoring.score == "max":
        return np.maximum.reduceat(stills, starts)
    if scoring.score == "top":
        stills = stills[np.lexsort((-stills, of_video))]
        is_of_top = np.arange(len(stills)) - starts[of_video] < scoring.top
        stills, of_video = stills[is_of_top], of_video[is_of_top]
        starts = np.flatnonzero(np.append(True, np.diff(of_video) > 0))
    counts = np.diff(np.append(starts, len(stills)))
    # Around the first score: the mean of equal scores is that score to the last bit, so that ties stay ties.
    first = stills[starts]
    means = first + np.add.reduceat(stills - np.repeat(first, counts), starts) / counts
    return np.clip(means, 0.0, 1.0)


def _numbers(frames: LabelledFrames) -> NDArray[np.int64]:
    """The number of each frame in its video [n]; those of unknown numbers stand at the end, in their order."""
    last = np.iinfo(np.int64).max
    if frames.frame_indices is None:
        return np.full(len(frames.labels), last, np.int64)
    return np.asarray(frames.frame_indices.fillna(last), np.int64)


def refuse_mixed(codes: NDArray[np.integer], names: Sequence[str], frames: LabelledFrames) -> None:
    """Raise `UserError` where a video has frames of both classes; `codes` [n] are the indices of frames' videos."""
    fakes = np.bincount(codes, weights=frames.labels == 1, minlength=len(names))
    mixed = np.flatnonzero((fakes > 0) & (fakes < np.bincount(codes, minlength=len(names)))).tolist()
    if mixed:
        of_first = [frames.frames[(codes == mixed[0]) & (frames.labels == label)].iloc[0] for label in (0, 1)]
        real, fake = (quoted(str(name)) for name in of_first)
        counted = "1 video has" if len(mixed) == 1 else f"{len(mixed):,} videos have"
        raise UserError(
            f"{counted} real and fake frames: {listed([names[index] for index in mixed], 5)}; of the "
            f"first, {real} is real and {fake} fake. Two videos need two names: correct the labels, or the videos"
        )


def _stills(frames: LabelledFrames, codes: NDArray[np.integer], contents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each frame's still [n], those of a video following each other.

    Faces with one number in their video are of one frame. Frames of a video with the same faces are one still.
    """
    numbers = _numbers(frames)
    unknown = numbers == np.iinfo(np.int64).max
    # A frame of unknown number is one by itself.
    numbers = np.where(unknown, -1 - np.arange(len(numbers)), numbers)
    pictures = _pairs(codes, _numbered(numbers))
    if frames.firsts is None:
        return pictures
    return _pairs(codes, _sets(pictures, contents))


def _sets(groups: NDArray[np.int64], contents: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row [n] the number of the set of contents that its group has: the same for groups with the same."""
    pairs = np.unique(np.stack([groups, contents]), axis=1)
    bounds = np.flatnonzero(np.append(True, np.diff(pairs[0]) > 0))
    numbers: dict[bytes, int] = {}
    of_group = [
        numbers.setdefault(part.tobytes(), len(numbers))
        for part in np.split(np.ascontiguousarray(pairs[1]), bounds[1:])
    ]
    return np.array(of_group, np.int64)[np.searchsorted(pairs[0][bounds], groups)]


def _numbered(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each value [n] among the distinct ones, in their order."""
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _pairs(first: NDArray[np.integer], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each pair [n] among the distinct ones, sorted by the first, then by the second."""
    return _numbered(first.astype(np.int64) * (int(second.max(initial=0)) + 1) + second)


def _firsts(contents: NDArray[np.int64], bounds: NDArray[np.int64], missing: int) -> NDArray[np.int64] | None:
    """The index of the first video with the same frames, of each video; `contents` [n] lie video by video."""
    seen: dict[bytes, int] = {}
    parts = np.split(contents, bounds[1:-1])
    firsts = [seen.setdefault(np.unique(part).tobytes(), index) for index, part in enumerate(parts)]
    if len(seen) == len(parts):
        return None
    return np.append(firsts, len(parts) + np.arange(missing)).astype(np.int64)


def _sources(frames: LabelledFrames, codes: NDArray[np.integer], count: int) -> list[str | None]:
    """The sources of each video: those of all its frames."""
    import pandas as pd

    pairs = pd.DataFrame({"video": codes, "source": frames.sources.astype(object).to_numpy()}).dropna()
    by_video: list[list[str]] = [[] for _ in range(count)]
    for video, source in pairs.drop_duplicates().itertuples(index=False):
        by_video[video].append(str(source))
    return [joined_sources(*names) if names else None for names in by_video]


def _attributes(
    frames: LabelledFrames, codes: NDArray[np.integer], first_rows: NDArray[np.int64], missing: int
) -> pd.DataFrame:
    """The attributes of each video: what all its frames agree on."""
    import pandas as pd

    of_videos = frames.attributes.iloc[first_rows].reset_index(drop=True)
    for name in of_videos.columns:
        values = pd.factorize(frames.attributes[name], use_na_sentinel=False)[0]
        differing = np.bincount(codes, weights=values != values[first_rows][codes], minlength=len(first_rows)) > 0
        of_videos[name] = of_videos[name].mask(differing)
    return of_videos.reindex(range(len(of_videos) + missing))


def _means(frames: LabelledFrames, codes: NDArray[np.integer], count: int) -> pd.DataFrame:
    """The means of each video's frames [count rows] of numeric attributes and of what was measured."""
    import pandas as pd

    numbers = pd.concat([frames.attributes.select_dtypes("number"), _measured(frames)], axis=1)
    return numbers.groupby(codes).mean().reindex(range(count))


def _measured(frames: LabelledFrames) -> pd.DataFrame:
    return frames.attributes[[]] if frames.measured is None else frames.measured


def not_sliced(reasons: Iterable[str], frames: LabelledFrames, videos: LabelledFrames) -> tuple[str, ...]:
    """Why columns were not sliced by video; of those on which no video's frames agree it is that, not a lack."""
    differing = {
        f"`{name}` has no values": f"`{name}` differs within every video"
        for name, column in frames.attributes.items()
        if videos.attributes[name].isna().all() and (column.notna() & (column.astype(str) != "")).any()
    }
    return tuple(differing.get(reason, reason) for reason in reasons)


def _series(values: Iterable[object]) -> pd.Series[str]:
    import pandas as pd

    return pd.Series(list(values), dtype="object")
