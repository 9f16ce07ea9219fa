"""What holds for every step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import runtimes
from bench.errors import UserError
from bench.records import Built, Event
from bench.variants import build, steps
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from tests.support.chains import check as check_chain
from tests.support.predictions import logits_and_cam

# Settings under which a step takes less time than with its defaults.
QUICK: dict[str, Any] = {"recover": {"steps": 2, "batch_size": 8, "learning_rate": 1e-5}}


def entry(name: str) -> object:
    """A step as YAML has it: with its own example where its main setting has no default."""
    example = QUICK.get(name, getattr(steps.find(name), "EXAMPLE", None))
    return name if example is None else {name: example}


def predicted(built: Built) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits and CAMs of fixed frames, by the runtime that executes the artifact as it is, without an export."""
    frames = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    runtime = runtimes.find("pytorch" if built.kind == "torch" else "onnxruntime")
    return logits_and_cam(runtime.load(built, "cpu", 1).predict(frames))


def check_step(name: str, context: BuildContext, source: Source) -> None:
    """It keeps the margin equation, leaves its parent alone, tells its progress and leaves nothing behind."""
    chain = [parse(entry(part)) for part in (*getattr(steps.find(name), "AFTER", ())[:1], name)]
    check_chain(chain, context.frames)
    baseline = build.build("baseline", source, [], context)
    events: list[Event] = []
    parent = build.build("parent", source, chain[:-1], context)
    before = parent.file.read_bytes()
    built = build.build(name, source, chain, replace(context, on_event=events.append))
    assert parent.file.read_bytes() == before
    logits, cam = predicted(built)

    margin = logits[:, 1] - logits[:, 0]
    assert np.ptp(margin) > 1e-3, "a constant network proves nothing"
    np.testing.assert_allclose(cam.mean((1, 2)) + built.margin_bias, margin, atol=1e-4, rtol=1e-4)
    assert built.id != baseline.id
    assert events, "progress must be told"
    assert all(0 <= event.done <= event.total for event in events)
    assert events[-1].done == events[-1].total
    assert not list(context.folder.glob(".tmp*"))
    assert not list((context.folder / ".scratch").iterdir())


def check_determinism(name: str, context: BuildContext, common_shop: BuildContext, source: Source) -> None:
    """Equal settings give equal bytes."""
    chain = [parse(entry(name))]
    files = [build.build(name, source, chain, folder_context).file for folder_context in (context, common_shop)]
    assert files[0] != files[1]
    assert files[0].read_bytes() == files[1].read_bytes()


def check_settings(name: str) -> None:
    """Unknown settings are refused."""
    with pytest.raises(UserError, match="has no setting 'no_such_setting'"):
        parse({name: {"no_such_setting": 1}})
    step = steps.find(name)
    assert step.MAIN is None or step.MAIN in step.Settings.model_fields
