"""Layers whose rounded inputs would save nothing have rounded weights alone."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from bench.artifacts.onnx_graph import Nearest, nearest_layers
from bench.variants.steps.quantize.lone_layers import weights_alone
from bench.variants.steps.quantize.observe import Convolution
from bench.variants.steps.quantize.rounding import Activation, Layer, nearest

NAMES = ("a", "b", "c", "d")
WEIGHT = np.ones((4, 4, 1, 1), np.float32)
# a → b → ReLU → c → d, with a sum of what a and c write.
NODES = [
    helper.make_node("Conv", ["frames", "w"], ["a.out"], name="a"),
    helper.make_node("Conv", ["a.out", "w"], ["b.out"], name="b"),
    helper.make_node("Relu", ["b.out"], ["limited"]),
    helper.make_node("Conv", ["limited", "w"], ["c.out"], name="c"),
    helper.make_node("Add", ["a.out", "c.out"], ["sum"]),
    helper.make_node("Conv", ["sum", "w"], ["d.out"], name="d"),
]
GRAPH = helper.make_graph(NODES, "chain", [], [])


def rounded(name: str) -> Layer:
    """A layer on integers."""
    convolution = Convolution(name, f"{name}.in", f"{name}.out", WEIGHT, np.zeros(4, np.float32), 1, True, None)
    return Layer(convolution, nearest(WEIGHT), None, Activation(0.1, 0))


def in_float(*on_integers: str) -> list[str]:
    """Of these layers, those whose weights alone are rounded."""
    layers = [rounded(name) for name in on_integers]
    return [layer.convolution.name for layer in weights_alone(layers, GRAPH) if layer.input is None]


def test_neighbours_are_the_nearest_layers_on_every_way() -> None:
    around = nearest_layers(GRAPH)
    assert around["a"] == Nearest(frozenset(), frozenset({"b", "d"}))
    assert around["c"] == Nearest(frozenset({"b"}), frozenset({"d"}))
    assert around["d"] == Nearest(frozenset({"a", "c"}), frozenset())


@pytest.mark.parametrize(
    ("on_integers", "alone"),
    [(NAMES, []), (("a", "b"), []), (("b",), ["b"]), (("a", "c"), ["a", "c"]), (("b", "d"), ["b", "d"]), ((), [])],
)
def test_a_layer_among_layers_in_float_is_in_float(on_integers: tuple[str, ...], alone: list[str]) -> None:
    assert in_float(*on_integers) == alone
