"""Flipped videos as Markdown: a figure for each variant, and a table with frames of each video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.reports.content.flipped_videos import FlippedVideo, FlippedVideos
from bench.reports.markdown.galleries import picture
from bench.reports.markdown.write import RULES, escape, lines
from bench.reports.pictures.gallery import Galleries, Pair


@dataclass(frozen=True)
class MarkdownVideos:
    """The flipped videos of a variant: counts, the file of its figure, and a table."""

    variant: str
    worse: int
    better: int
    drawn: int
    file: str
    table: str


def flipped(
    run_baseline: str,
    videos: Sequence[FlippedVideos],
    files: Mapping[str, str],
    shown: tuple[Galleries, Path] | None,
    report: Path,
) -> list[MarkdownVideos]:
    """What report.md shows of flipped videos. `shown` are the galleries and the folder of their overlays, if any."""
    listed = []
    for of_variant in videos:
        pairs = shown[0].videos.get(of_variant.variant, ()) if shown else ()
        rows = [
            _row(run_baseline, video, pairs[at] if at < len(pairs) else (), shown[1] if shown else None, report)
            for at, video in enumerate(of_variant.drawn)
        ]
        titles = ["Video", "Class", "Change", "Baseline", of_variant.variant]
        most = max(len(row) for row in rows) - len(titles)
        head = [*map(escape, titles), *(f"Frame {number}" for number in range(1, most + 1))]
        rules = [*[RULES["left"]] * 3, *[RULES["right"]] * 2, *[RULES["center"]] * most]
        body = [[*row, *[""] * (len(head) - len(row))] for row in rows]
        file = files[of_variant.variant]
        table = lines(head, rules, *body)
        listed.append(
            MarkdownVideos(of_variant.variant, of_variant.worse, of_variant.better, len(of_variant.drawn), file, table)
        )
    return listed


def _row(baseline: str, video: FlippedVideo, pairs: Sequence[Pair], results: Path | None, report: Path) -> list[str]:
    """A video: what it is and what became of it, then its frames, the baseline's picture beside the variant's."""
    change = "right → wrong" if video.worse else "wrong → right"
    cells = [
        f"_{escape(video.video)}_",
        video.label,
        change,
        video.written(video.baseline),
        f"**{video.written(video.p_fake)}**",
    ]
    for still, pair in zip(video.pictured, pairs, strict=False):
        assert results is not None
        both = picture(baseline, pair.baseline, results, report) + picture(video.variant, pair.variant, results, report)
        cells.append(
            f"{both}<br>{video.title(still)}: `{video.written(still.baseline)}` → `{video.written(still.p_fake)}`"
        )
    return cells
