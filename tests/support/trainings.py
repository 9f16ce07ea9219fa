"""Small trainings: a folder of drawn frames in which red ones are fakes, and the tiny network."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import write_frames

SPLITS = (("test", 6), ("validation", 6), ("train", 8))
NETWORK = "architecture: tiny, preprocessing: {preset: fsbi, size: 32}"
QUICK = (
    "frames: faces, epochs: 3, batch_size: 8, threads: 1, workers: 0, device: cpu, "
    "optimizer: {name: adamw, learning_rate: 0.003}"
)


def set_up(folder: Path, more: str = "", *, splits: tuple[tuple[str, int], ...] = SPLITS) -> Path:
    """The folder with frames and a training `mine`; `more` are further settings, which come last."""
    folder.mkdir(exist_ok=True)
    for seed, (split, count) in enumerate(splits):
        write_frames(folder / "faces" / split, count, count, seed)
    write_file(folder, more)
    return folder


def write_file(folder: Path, more: str = "", further: str = "") -> Path:
    """The experiment file, with `further` lines; a setting of `more` stands in the place of the quick one."""
    quick = [part for part in QUICK.split(", ") if part]
    file = folder / "experiments.yaml"
    given = {part.partition(":")[0].strip() for part in more.split("; ") if part}
    others = _settings(quick, given)
    settings = ", ".join([NETWORK, *others, *(part for part in more.split("; ") if part)])
    file.write_text(f"datasets: {{faces: {{path: faces}}}}\ntrainings:\n  mine: {{{settings}}}\n{further}")
    return file


def _settings(quick: list[str], given: set[str]) -> list[str]:
    """The quick settings but those that are given; one with braces is one."""
    whole: list[str] = []
    for part in quick:
        if whole and whole[-1].count("{") > whole[-1].count("}"):
            whole[-1] += f", {part}"
        else:
            whole.append(part)
    return [part for part in whole if part.partition(":")[0] not in given]


def run_of(folder: Path, name: str = "mine") -> Path:
    """The folder of the only run."""
    (run,) = (path for path in (folder / "trainings" / name).iterdir() if path.is_dir())
    return run
