"""What became of a video: its frames, or why there are none. One small file each, by which a killed run goes on."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from bench import stored
from bench.errors import counted
from bench.files import write_text

Status: TypeAlias = Literal[
    "ok", "no face", "broken", "no frames", "no video", "unreadable", "too large", "stuck", "ended", "no file"
]
"""The first has frames; the others say why there are none.

"no face": frames, but no face in them. "broken": no frame that was asked for could be decoded. "no frames": a video
stream without any. "no video": sound alone. "unreadable": no video, or none that can be opened. "stuck": its decoder
gave no sign of life. "ended": the process that read it ended. "no file": a data set's list names it, and it is not
there.
"""
PASSING: tuple[Status, ...] = ("stuck", "ended")
"""What may be the machine's fault: the next run tries again."""

_NAME = re.compile(r"\d{6,7}(-\d{1,3})?\.(png|jpg)")
_MOST_BYTES = 256 * stored.MIB


@dataclass(frozen=True)
class Row:
    """A written crop. All that is measured in pixels is in those of its file.

    `box` is (x0, y0, x1, y1), `points` are five (x, y) one after another: eyes, nose, corners of the mouth. `face_px`
    is the shorter side of the face's box in the video's frame. What there is not is None. `mask` is whether a mask of
    what was forged lies beside it.
    """

    name: str
    frame_index: int
    time_s: float | None
    box: tuple[float, float, float, float] | None = None
    points: tuple[float, ...] | None = None
    score: float | None = None
    face_px: float | None = None
    mask: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a video, made of the file and the settings that `key` is a digest of.

    `frames` is how many it has, `asked` of how many are taken, `decoded` that could be; `faceless` of these have no
    crop. `failures` are packets that could not be read or decoded, `corrupt` frames that the decoder calls so.
    `by_order` says that its times were wrong or missing, and frames are numbered as they came. `mask_problem` is why
    its masks are not used.
    """

    key: str
    status: Status
    reason: str = ""
    frames: int = 0
    asked: int = 0
    decoded: int = 0
    faceless: int = 0
    failures: int = 0
    corrupt: int = 0
    by_order: bool = False
    mask_problem: str = ""
    rows: tuple[Row, ...] = ()

    @property
    def missing(self) -> int:
        """Frames that were asked for and could not be decoded."""
        return self.asked - self.decoded

    @property
    def damage(self) -> str:
        """What is wrong with the video, in words; empty where nothing is."""
        parts = (
            (self.missing, f"{self.missing} of {self.asked} frames missing"),
            (self.failures, f"{self.failures} packets can't be read"),
            (self.corrupt, f"{counted(self.corrupt, 'frame')} corrupt"),
        )
        return ", ".join(text for count, text in parts if count)


def write(file: Path, outcome: Outcome) -> None:
    write_text(file, json.dumps(asdict(outcome), separators=(",", ":")))


def read(file: Path, key: str) -> Outcome | None:
    """The outcome that was made of this key; None where there is none, or a damaged one."""
    try:
        outcome: Outcome = stored.typed(Outcome, stored.read_json(file, _MOST_BYTES, links=False))
    except (OSError, ValueError):
        return None
    sound = outcome.key == key and all(_NAME.fullmatch(row.name) for row in outcome.rows)
    return outcome if sound and bool(outcome.rows) == (outcome.status == "ok") else None
