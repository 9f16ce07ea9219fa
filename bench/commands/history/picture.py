"""The history of checks as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.commands.history import names, other_frames
from bench.errors import UserError
from bench.records.history import Check
from bench.reports.pictures.history import ENDINGS, Course, Point, draw


def refuse_other_form(path: Path) -> None:
    """Raise `UserError` where the name says no form that is drawn."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--to: {path} ends with no form of a picture; expected {' or '.join(ENDINGS)}")


def write(checks: Sequence[Check], path: Path) -> None:
    """Draw all checks in their order."""
    labels = [f"{check.date[:10]} {check.commit[:8] if check.commit else check.date[11:16]}" for check in checks]
    draw([_course(checks, name) for name in names(checks)], labels, path, other_frames(checks))


def _course(checks: Sequence[Check], name: str) -> Course:
    auc, delta = [], []
    for index, check in enumerate(checks):
        then = check.variants.get(name)
        if then is not None and then.auc is not None:
            auc.append(Point(index, then.auc, fell=bool(then.fell)))
        if then is not None and then.auc_delta is not None and then.auc_delta_ci is not None:
            delta.append(Point(index, then.auc_delta, *then.auc_delta_ci, fell=bool(then.fell)))
    return Course(name, tuple(auc), tuple(delta))
