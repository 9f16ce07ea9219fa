"""A trial of a graph from elsewhere on a few frames, in onnxruntime on the CPU: does it run, what does it answer?"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from bench.artifacts.imports.outputs import PREFIX, plain
from bench.artifacts.onnx_session import session_options
from bench.errors import UserError, counted, quoted, shown

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

FRAMES = 4
"""As many are tried: not a multiple of most fixed batches, and different enough to tell answers apart."""


def frames(size: int) -> NDArray[np.uint8]:
    """Smooth pictures with noise, uint8 RGB [FRAMES, 3, size, size], always the same."""
    import numpy as np

    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, size)
    pictures = []
    for index in range(FRAMES):
        colours = rng.uniform(30, 220, (3, 1, 1))
        waves = np.sin(ramp[:, None] * (2 + 3 * index)) * np.cos(ramp[None, :] * (1 + 2 * index))
        pictures.append(colours + 60 * waves[None] + rng.normal(0, 8 + 6 * index, (3, size, size)))
    clipped: NDArray[np.uint8] = np.clip(np.stack(pictures), 0, 255).astype(np.uint8)
    return clipped


def answers(model: onnx.ModelProto, pictures: NDArray[np.uint8], block: int) -> NDArray[np.floating]:
    """What a graph answers to frames that it is given `block` by block, [n, numbers of a frame].

    Raises `UserError` where onnxruntime refuses the graph, or it answers something else than numbers for each frame.
    """
    import numpy as np
    import onnxruntime

    name = model.graph.output[0].name
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # onnxruntime prints what it raises, too
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
            )
        parts = []
        for start in range(0, len(pictures), block):
            given = pictures[start : start + block]
            missing = block - len(given)
            filled = np.concatenate([given, np.zeros((missing, *given.shape[1:]), np.uint8)]) if missing else given
            answer = np.asarray(session.run([name], {"frames": filled})[0])
            parts.append(_rows(answer, block, name)[: len(given)])
    except UserError:
        raise
    except Exception as error:  # onnxruntime's own, of many kinds
        raise UserError(f"onnxruntime {onnxruntime.__version__} cannot run it: {_reason(error)}") from error
    whole = np.concatenate(parts)
    if not np.isfinite(whole).all():
        bad = int((~np.isfinite(whole).all(1)).sum())
        raise UserError(
            f"its output {quoted(plain(name))} is not finite (NaN or infinite) for {bad} of {len(whole)} frames tried; "
            "fp16 that overflows does so, and values of another scale than in training"
        )
    return whole


def _rows(answer: NDArray[np.floating], block: int, name: str) -> NDArray[np.floating]:
    """An answer as [block, numbers of a frame]. Raises `UserError` where it has not one row a frame, or no floats."""
    import numpy as np

    if not np.issubdtype(answer.dtype, np.floating):
        raise UserError(f"its output {quoted(plain(name))} is {answer.dtype}, not floats: expected scores")
    if answer.size not in (block, 2 * block) or (block > 1 and answer.shape[0] != block):
        raise UserError(
            f"its output {quoted(plain(name))} is {list(answer.shape)} for {counted(block, 'frame')}; "
            "expected one or two numbers a frame"
        )
    return answer.reshape(block, -1).astype(np.float64)


def _reason(error: Exception) -> str:
    """onnxruntime's reason on one line, without its code's address."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return shown(text.replace(PREFIX, ""), 300)
