"""Whether the sources that a `source_pattern` gives can be videos or persons."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from bench.errors import quoted, shown
from bench.records import BETWEEN_SOURCES, sources_of

_EXAMPLES = 3
_MOST = 10_000  # first and last frames: whether these are of one video takes long to see of a million
_COMPRESSIONS = re.compile(r"(?:c|crf|q|qp|jpeg|jpg)[-_]?\d{1,3}|raw|hq|lq|\d{3,4}p", re.IGNORECASE)
_CLASSES = frozenset({
    "real", "fake", "0", "1", "original", "originals", "manipulated", "bonafide", "bona-fide", "spoof", "attack",
    "genuine", "nature", "ai", "0_real", "1_fake", "live", "authentic", "tampered", "synthetic", "generated",
    "pristine", "deepfake", "youtube",
})  # fmt: skip
_METHODS = frozenset({
    "deepfakes", "face2face", "faceswap", "faceshifter", "neuraltextures", "deepfakedetection", "celeb-real",
    "celeb-synthesis", "youtube-real", "original_sequences", "manipulated_sequences", "actors", "dfdc", "simswap",
    "fsgan", "wav2lip", "inswapper", "roop", "uniface", "mobileswap", "blendface", "facedancer", "e4s", "stylegan",
    "stylegan2", "stylegan3", "progan", "stargan", "cyclegan", "biggan",
})  # fmt: skip
_SPLITS = frozenset({"test", "testing", "validation", "valid", "val", "dev", "calibration", "train", "training"})
_NUMBER_AT_END = re.compile(r"\d+(?=[^\d/]*$)")


def source_remarks(pattern: str, paths: Sequence[str], sources: Sequence[str | None]) -> tuple[str, ...]:
    """What a reader must know of the sources that a pattern gives frames, by their paths; with examples.

    That fakes were taken for those of two sources, or that the sources look like something else than videos or
    persons: a single one, words for classes, methods, compression levels or splits, or single frames.
    """
    named = [(path, source) for path, source in zip(paths, sources, strict=True) if source]
    counts: Counter[str] = Counter()
    for source, number in Counter(source for _, source in named).most_common():
        for name in sources_of(source):
            counts[name] += number
    return (*_guessed(pattern, named), *_implausible(pattern, named, counts))


def _guessed(pattern: str, named: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """That fakes are named after two sources, of which the pattern has but the first."""
    joined = [(path, source) for path, source in named if BETWEEN_SOURCES in source and BETWEEN_SOURCES not in path]
    if not joined or re.compile(pattern).groups > 1:
        return ()
    path, source = joined[0]
    fakes = f"{len(joined):,} fakes are" if joined[1:] else "1 fake is"
    return (
        f"{fakes} named after two sources that real frames have, and taken for both, though "
        f"source_pattern '{shown(pattern)}' has one group: {quoted(path)} is of {' and '.join(sources_of(source))}. "
        "Give it a second group where that is right, and an empty one, (), where it is not.",
    )


def _implausible(pattern: str, named: Sequence[tuple[str, str]], counts: Mapping[str, int]) -> tuple[str, ...]:
    """That the sources look like something else than videos or persons."""
    what = _what_they_are(counts) if len(named) > 1 else ""
    if not what and _end_in_numbers(named[:_MOST]):
        what = "end in the middle of a number"
    if not what and _are_frames([*named[:_MOST], *named[max(_MOST, len(named) - _MOST) :]]):
        what = "tell frames apart that seem to be of one video"
    if not what:
        return ()
    examples = [f"{quoted(name)} ({number:,} of {len(named):,} frames)" for name, number in _first(counts)]
    return (
        f"The sources that source_pattern '{shown(pattern)}' gives {what}: {', '.join(examples)}"
        f"{', …' if len(counts) > _EXAMPLES else ''}; {quoted(named[0][0])} is of {quoted(named[0][1])}. Frames of one "
        "video must have one source, those of others another: put what names the video in brackets.",
    )


def _first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return list(counts.items())[:_EXAMPLES]


def _what_they_are(counts: Mapping[str, int]) -> str:
    """What all sources are by their names, as the end of a sentence; empty where they may be videos or persons."""
    if len(counts) == 1:
        return "are one for all frames"
    for words, what in ((_CLASSES, "classes"), (_METHODS | _CLASSES, "methods"), (_SPLITS, "splits")):
        if all(name.strip("/_-. ").lower() in words for name in counts):
            return f"are {what}"
    if all(_COMPRESSIONS.fullmatch(name.strip("/_-. ")) for name in counts):
        return "are compression levels"
    return ""


def _end_in_numbers(named: Sequence[tuple[str, str]]) -> bool:
    """Whether most sources end with a digit that another one follows in the path, as "000" of "real/0001/"."""
    cut = 0
    for path, source in named:
        behind = [
            path[at.end() : at.end() + 1] for name in sources_of(source) for at in re.finditer(re.escape(name), path)
        ]
        cut += source[-1:].isdigit() and bool(behind) and all(letter.isdigit() for letter in behind)
    return 2 * cut > len(named)


def _are_frames(named: Sequence[tuple[str, str]]) -> bool:
    """Whether most frames whose names are alike but for the number at their end have each another source.

    Such frames seem to be of one video where they have a further number in common.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for path, source in named:
        if source == path:
            return False  # that every frame stands alone is what (.+) says
        number = _NUMBER_AT_END.search(path.rpartition(".")[0])
        if number:
            alike[path[: number.start()]].append(source)
    videos = {stem: of_video for stem, of_video in alike.items() if len(of_video) > 1 and _is_video(stem)}
    frames = sum(map(len, videos.values()))
    apart = sum(len(of_video) for of_video in videos.values() if len(set(of_video)) == len(of_video))
    return len(videos) > 1 and 2 * frames > len(named) and 2 * apart > frames


def _is_video(stem: str) -> bool:
    """Whether what stands before a frame's number has another number, as names of videos mostly have."""
    names = [name for name in stem.split("/") if name.lower() not in _METHODS and not _COMPRESSIONS.fullmatch(name)]
    return any(letter.isdigit() for name in names for letter in name)
