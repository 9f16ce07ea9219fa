"""Changing a layer's weights input by input, so that the later ones make good for what is lost on those before.

Optimal brain surgeon in the order of the inputs (GPTQ: Frantar et al., ICLR 2023; SparseGPT: Frantar & Alistarh,
ICML 2023): the error of one input's weights is spread over the inputs that are still to come, as far as the
calibration frames say that they move together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.detectors.detector import Detector
    from bench.variants.steps import StepContext

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

# Of the second moments' mean diagonal; directions that no frame shows are left where they are.
_DAMPING = 0.01
_TINY = 1e-12
# Columns whose corrections are applied to all later ones at once; a multiple of four.
_AT_ONCE = 128
# Positions of a frame that are looked at; neighbours say almost the same.
_POSITIONS = 400
# Pixels that pass through the network at once: more frames would take memory, not save time.
_PIXELS = 8 * 160 * 160


def batch_size(size: int) -> int:
    """Frames of `size` x `size` pixels to run at once where every activation is looked at."""
    return max(1, _PIXELS // (size * size))


@dataclass(frozen=True)
class Inputs:
    """What enters a layer: mean [in] and covariance [in, in]."""

    mean: NDArray[np.float32]
    covariance: NDArray[np.float32]


def inputs(model: Detector, names: Iterable[str], frames: int, work: StepContext) -> dict[str, Inputs]:
    """Of every named 1x1 convolution, over at most `frames` calibration frames."""
    import torch

    device, part = next(model.parameters()).device, work.part("covariances")
    sums: dict[str, Any] = part.tensors("sums", device)
    totals: dict[str, Any] = part.tensors("totals", device)
    about: dict[str, Any] = part.tensors("about", device)
    seen: dict[str, int] = part.state.get("seen", {})

    def state() -> dict[str, Any]:
        return {"sums": sums, "totals": totals, "about": about, "seen": seen}

    def watch(name: str) -> Any:
        def hook(module: object, entering: tuple[Any, ...]) -> None:
            flat = entering[0].flatten(2)
            every = -(-flat.shape[2] // _POSITIONS)
            rows = flat[:, :, ::every].transpose(0, 1).flatten(1)
            if name not in sums:
                # About some mean from the first batch on, so that little is lost where the two are subtracted.
                about[name] = rows.mean(1, keepdim=True)
                sums[name], totals[name], seen[name] = rows.new_zeros(len(rows), len(rows)), 0, 0
            rows = rows - about[name]
            sums[name].addmm_(rows, rows.T)
            totals[name] = totals[name] + rows.sum(1)
            seen[name] += rows.shape[1]

        return hook

    hooks = [model.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    total, done = len(work.spread("calibration", frames)), part.done
    try:
        with torch.no_grad():
            for batch in work.batches("calibration", batch_size(work.spec.size), frames, done):
                model(torch.from_numpy(batch).to(device))
                done += len(batch)
                part.keep(done, total, state)
                work.progress(done, total, "frames", "covariances")
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for name in list(sums):
        off = totals[name] / seen[name]
        covariance = sums.pop(name).div_(seen[name]).addr_(off, off, alpha=-1)
        found[name] = Inputs((about[name][:, 0] + off).cpu().numpy(), covariance.cpu().numpy())
    return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Without threads of NumPy's and SciPy's linear algebra.

    Thousands of small products: threads that wait for each other took a hundred seconds where one takes five.
    """
    import threadpoolctl
    from scipy import linalg

    # SciPy brings a library of its own, which can only be told once it is loaded.
    assert linalg
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        yield


def side_by_side(work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """`work` of every item, in their order; each on one thread, because threads that share small products only wait."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(before)


def one_by_one(
    weight: NDArray[np.float64],
    moments: NDArray[np.floating],
    change: Callable[[int, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """`weight` [out, in] with every column changed, given its inputs' second moments [in, in].

    `change(column, left, curvature)` answers with the column's new values; `left` [out, in] is what the columns
    have become by then, `curvature` [in] how much a column's error costs, as a share of its square.
    """
    import numpy as np

    factor = _factor(moments)
    curvature = np.square(1 / np.diag(factor))
    # By column, so that what is read and written together lies together.
    left = np.ascontiguousarray(weight.T)
    changed = np.empty_like(left)
    for start in range(0, len(left), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(left))
        errors = np.empty((stop - start, left.shape[1]))
        for column in range(start, stop):
            changed[column] = change(column, left.T, curvature)
            error = (left[column] - changed[column]) / factor[column, column]
            left[column:stop] -= factor[column, column:stop, None] * error
            errors[column - start] = error
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return np.ascontiguousarray(changed.T)


def _factor(moments: NDArray[np.floating]) -> NDArray[np.float64]:
    """The upper Cholesky factor of the damped moments' inverse."""
    import numpy as np
    from scipy import linalg

    damped = moments.astype(np.float64)
    damped[np.diag_indices_from(damped)] += _DAMPING * np.trace(damped) / len(damped) + _TINY
    # Backwards, the factor of the moments is the upper one, and its inverse that of the moments' inverse: half the
    # work of inverting first and factoring then.
    lower, failed = linalg.lapack.dpotrf(damped[::-1, ::-1].T, lower=1, clean=1, overwrite_a=1)
    if failed:
        raise UserError(
            "calibration frames give a layer inputs that are not finite, or too large to be told apart; check the "
            "weights, and the frames that the detector was made for"
        )
    inverse, _ = linalg.lapack.dtrtri(lower, lower=1, overwrite_c=1)
    return np.ascontiguousarray(inverse[::-1, ::-1])
