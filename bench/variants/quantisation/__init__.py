"""Integers in place of floats: what `quantize` is made of.

- `network`: the convolutions of an exported graph, and what feeds them.
- `observe`: what the calibration frames put into every one of them, streamed in constant memory.
- `scales`: where a tensor's 256 levels go, channel by channel, so that least is lost.
- `sensitivity`: how much each convolution's rounding moves the margin, and which stay in float.
- `qdq`: the quantised graph.
"""
