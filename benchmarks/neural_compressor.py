"""Neural Compressor's static quantisation of an ONNX file, for `peers.py`, which runs this in another environment.

It needs NumPy below 2, and bench needs 2, so nothing of bench is imported here, and both exchange files:

    python -m venv other && other/bin/python -m pip install onnx-neural-compressor scipy prettytable
    python benchmarks/8_compression.py --folder kept --neural-compressor other/bin/python
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx


def main() -> None:
    """Read a float graph and calibration frames, and write the quantised graph as one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the float graph, which reads `frames`")
    parser.add_argument("frames", type=Path, help="uint8 RGB [n, 3, size, size] as .npy; each is a batch of its own")
    parser.add_argument("output", type=Path)
    parser.add_argument("--per-channel", action="store_true", help="a scale for every output channel of weights")
    parser.add_argument("--qdq", action="store_true", help="QuantizeLinear and DequantizeLinear around operators")
    given = parser.parse_args()
    frames = np.load(given.frames)
    further: dict[str, Any] = {"per_channel": given.per_channel, "calibration_sampling_size": len(frames)}
    quantise(given.model, frames, given.output, further, qdq=given.qdq)


def quantise(model: Path, frames: Any, output: Path, further: dict[str, Any], *, qdq: bool) -> None:
    """`onnx_neural_compressor.quantization.quantize`, with its defaults but for `further` and `qdq`."""
    from onnx_neural_compressor import data_reader
    from onnx_neural_compressor.quantization import QuantFormat, config, quantize

    class Reader(data_reader.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rewind()

        def rewind(self) -> None:
            self.left = iter(range(len(frames)))

        def get_next(self) -> dict[str, Any] | None:
            index = next(self.left, None)
            return None if index is None else {"frames": frames[index : index + 1]}

    if qdq:
        further = {**further, "quant_format": QuantFormat.QDQ}
    with tempfile.TemporaryDirectory() as folder:
        # It puts large constants into a file of their own; what ships is one file.
        written = Path(folder) / "model.onnx"
        quantize(str(model), str(written), config.StaticQuantConfig(calibration_data_reader=Reader(), **further))
        onnx.save(onnx.load(written), output)


if __name__ == "__main__":
    main()
