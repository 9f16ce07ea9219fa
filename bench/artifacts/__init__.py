"""What a built variant is on disk: safetensors files, ONNX graphs, and their size in numbers."""

from __future__ import annotations

EXPORT_VERSION = 2
"""Raised whenever the same detector would be exported to another ONNX graph."""
