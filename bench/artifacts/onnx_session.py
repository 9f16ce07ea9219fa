"""How onnxruntime is set up wherever bench runs a graph in it."""

from __future__ import annotations

from typing import Any


def session_options(threads: int, *, floats: bool = False) -> Any:
    """onnxruntime's options for `threads` threads that do not spin.

    `floats`: turn weights that are stored as integers into floats once, at loading, and nothing into integers that
    the graph has in float. onnxruntime would turn the weights at every call, which took 2.6 times as long; in a
    graph whose activations are QuantizeLinear and DequantizeLinear it must not, or all is float.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin take the cores from decoding, and from the other variants' sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if floats:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options
