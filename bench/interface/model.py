"""`bench.load`: a variant that predicts as it did when it was evaluated."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError, on_one_line, shown
from bench.interface import arguments
from bench.interface.call import call

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from bench.interface.folders import Opened


class Model:
    """A loaded variant. `bench.load` gives it.

    Attributes
    ----------
    name : str
        The variant's name.
    size : int
        Frames are resized to this many pixels a side.
    runtime : str
        What executes it, such as "onnxruntime".
    device : {"cpu", "cuda"}
        Where it is executed.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self.name = opened.name
        self.size = opened.spec.size
        self.runtime = opened.session.executed.runtime
        self.device: Literal["cpu", "cuda"] = opened.session.executed.device

    def predict(self, frames: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float64]:
        """P(fake) of every frame, as evaluation has it.

        Parameters
        ----------
        frames : array of shape (n, height, width, 3), or sequence of arrays (height, width, 3)
            RGB, uint8, of any size, and of different sizes in a sequence. Each is fitted as the detector asks.

        Returns
        -------
        ndarray of shape (n,)
            float64, in [0, 1].

        Raises
        ------
        UserError
            Where frames are anything else: OpenCV's BGR cannot be told from RGB, and is not refused.

        Examples
        --------
        >>> model = bench.load("handed-over")
        >>> model.predict(np.zeros((2, 256, 256, 3), np.uint8)).shape
        (2,)
        """
        from bench.results.score import p_fake

        logits = self.logits(frames)
        return p_fake(logits[:, 0], logits[:, 1])

    def logits(self, frames: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.float32]:
        """The logits of every frame.

        Parameters
        ----------
        frames : array of shape (n, height, width, 3), or sequence of arrays (height, width, 3)
            As for `predict`.

        Returns
        -------
        ndarray of shape (n, 2)
            float32: real, fake.

        Raises
        ------
        UserError
            As `predict`.
        """
        import numpy as np

        pictures = _pictures(frames)
        answers = [np.zeros((0, 2), np.float32)]
        with call(f"{self!r}.predict"):
            for batch in self._batches(pictures):
                answers += _answered(lambda part: self._opened.session.predict(part)[0], batch)
        return np.concatenate(answers)

    def _batches(self, pictures: Sequence[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """uint8 RGB [n, 3, size, size], as many at once as evaluation computes."""
        import numpy as np

        from bench.datasets.decoding import fit
        from bench.results.predict import batch_size

        spec = self._opened.spec
        size = batch_size(spec, self.device)
        for start in range(0, len(pictures), size):
            fitted = [
                fit(np.ascontiguousarray(picture), spec).transpose(2, 0, 1)
                for picture in pictures[start : start + size]
            ]
            yield np.ascontiguousarray(fitted)

    def __repr__(self) -> str:
        return f"<bench model {shown(self.name)!r}: {self.size} px, {self.runtime}, {self.device}>"


def load(folder: str | os.PathLike[str], *, device: Literal["auto", "cuda", "cpu"] = "auto") -> Model:
    """Load a variant to predict with.

    Parameters
    ----------
    folder : path
        What `bench export` wrote, or `variants/<id>` of a working folder. Both may come from strangers: nothing in
        them is run as code (docs/security.md).
    device : {"auto", "cuda", "cpu"}, default="auto"
        Where it is executed; "auto" is a CUDA device where there is one.

    Returns
    -------
    Model

    Raises
    ------
    UserError
        Where there is no variant, it is damaged, or the device is not there.

    Examples
    --------
    >>> bench.load("handed-over").predict(frames)
    """
    from bench.interface.folders import open_folder

    path = arguments.absolute("folder", folder)
    arguments.device(device)
    with call(on_one_line(f"bench.load({os.fspath(folder)!r})")):
        return Model(open_folder(path, device))


def _answered(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]], batch: NDArray[np.uint8]
) -> list[NDArray[np.float32]]:
    """The logits of a batch, in halves where memory runs out."""
    try:
        logits = predict(batch)
        if logits.shape != (len(batch), 2):
            raise UserError(f"the network answers {list(logits.shape)}, not two logits a frame; export it again")
        return [logits]
    except MemoryError:
        if len(batch) == 1:
            raise
        half = len(batch) // 2
        return [*_answered(predict, batch[:half]), *_answered(predict, batch[half:])]


def _pictures(frames: Any) -> Sequence[NDArray[np.uint8]]:
    """The frames, each [height, width, 3]; `UserError` where they are something else."""
    import numpy as np

    if isinstance(frames, (str, bytes, os.PathLike)):
        raise UserError("frames: expected arrays of pixels, found a path; decode the file first")
    if isinstance(frames, (list, tuple)):
        pictures: Sequence[Any] = [_array(picture, f"frames[{index}]") for index, picture in enumerate(frames)]
        problems = [fault for index, picture in enumerate(pictures) if (fault := _fault(picture, f"frames[{index}]"))]
        if problems:
            raise UserError(*problems[:5])
        return pictures
    array = _array(frames, "frames")
    if array.ndim != 4:
        hint = "; one frame alone is frames[None]" if array.ndim == 3 else ""
        raise UserError(f"frames: expected the shape [n, height, width, 3], found {list(array.shape)}{hint}")
    if not len(array):
        return []
    if fault := _fault(array[0], "frames"):
        raise UserError(fault)
    return list(np.asarray(array))


def _array(given: Any, name: str) -> NDArray[Any]:
    import numpy as np

    if callable(getattr(given, "detach", None)):
        given = given.detach().cpu()
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: expected an array of uint8: {error}") from error


def _fault(picture: NDArray[Any], name: str) -> str:
    """What is wrong with a frame; empty where nothing is."""
    shape = list(picture.shape)
    if picture.ndim != 3 or picture.shape[2] != 3:
        hint = ""
        if picture.ndim == 3 and picture.shape[0] == 3:
            hint = "; channels come last: frames.transpose(0, 2, 3, 1)"
        elif picture.ndim == 3 and picture.shape[2] == 4:
            hint = "; drop the transparency: frames[..., :3]"
        elif picture.ndim == 2:
            hint = "; of a grey picture, repeat the channel: np.repeat(grey[..., None], 3, -1)"
        return f"{name}: expected RGB, [height, width, 3] for each frame, found {shape}{hint}"
    if picture.dtype != "uint8":
        hint = "; of floats in [0, 1]: (frames * 255).round().astype(np.uint8)" if picture.dtype.kind == "f" else ""
        return f"{name}: expected uint8, 0 to 255, found {picture.dtype}{hint}"
    return "" if picture.size else f"{name}: has no pixels, {shape}"
