"""`bench init`: the files that people start from."""

from __future__ import annotations

import json
import re
from pathlib import Path

from bench.errors import UserError, in_yaml
from bench.files import write_text

TEMPLATES = Path(__file__).parent
IGNORED = ".gitignore"
WORKFLOW = Path(".github", "workflows", "bench.yml")


def write_workflow(folder: Path) -> list[Path]:
    """Write a GitHub workflow that runs `bench check`, and where they are not there yet, .gitignore and the starter."""
    target = folder / WORKFLOW
    if target.exists():
        raise UserError(f"{target}: exists already; remove it, or compare it with docs/ci.md")
    written = [] if (folder / "experiments.yaml").exists() else write_starter(folder)
    write_text(target, (TEMPLATES / "github-workflow.yml").read_text(encoding="utf-8"))
    if not (folder / IGNORED).exists():
        write_text(folder / IGNORED, _ignored())
        written.append(folder / IGNORED)
    return [*written, target]


def not_ignored(folder: Path) -> list[str]:
    """The lines that a .gitignore beside the workflow lacks; a file that is the user's is not changed."""
    lines = (folder / IGNORED).read_text(encoding="utf-8", errors="replace").splitlines()
    present = {line.strip().strip("/") for line in lines}
    return [line for line in _ignored().splitlines() if not line.startswith("#") and line.strip("/") not in present]


def _ignored() -> str:
    return (TEMPLATES / "gitignore").read_text(encoding="utf-8")


def write_starter(folder: Path, videos: Path | None = None) -> list[Path]:
    """Write a commented experiments.yaml into `folder`, where there is none, and bench's JSON Schema of it, anew.

    Its experiment is evaluated on the demo set, or on `videos`: a folder of these in any layout. `UserError` where
    these are none.
    """
    from bench.schema import json_schema

    target, schema = folder / "experiments.yaml", folder / "experiments.schema.json"
    if target.exists():
        raise UserError(f"{target}: exists already; remove it or choose another folder")
    text = (TEMPLATES / "experiments.yaml").read_text(encoding="utf-8")
    if videos is not None:
        text = _on_videos(text, folder, videos)
    try:
        write_text(schema, json.dumps(json_schema(), indent=1) + "\n")
        write_text(target, text)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error})") from error
    return [target, schema]


def _on_videos(text: str, folder: Path, videos: Path) -> str:
    """The starter with a set of videos, on which its experiment is evaluated."""
    from bench.pipeline.videos import find_videos

    present = find_videos([videos]).videos
    if not any(video.label is not None for video in present):
        raise UserError(
            f"{videos}: nothing says which of its videos are real and which fake; sort them into "
            "real/ and fake/, or write a manifest.csv with the columns path and label"
        )
    path = _seen_from(folder, videos)
    path = path if re.fullmatch(r"[\w./-]+", path) else in_yaml(path)
    split = "" if any(video.split for video in present) else ", split: auto"
    persons = r"# source_pattern: '(id\d+)(?:_(id\d+))?' would name persons"
    entry = f"  videos: {{path: {path}{split}, extract: {{frames: 32}}}}   {persons}"
    demo = next(line for line in text.splitlines() if line.startswith("  demo: {path:"))
    return text.replace(demo, f"{demo}\n{entry}").replace("    frames: demo\n", "    frames: videos\n")


def _seen_from(folder: Path, path: Path) -> str:
    """A path as the experiment file names it: relative where it lies in the folder."""
    absolute, root = path.absolute(), folder.absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else absolute.as_posix()
