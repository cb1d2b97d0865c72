"""Feedforward depth: the layers of a network as nonlinear equations, solved together."""

from forerun.sequence.layers.feedforward import FeatureSolution, feedforward
from forerun.sequence.layers.layers import LayerFunction, StackedLayers

__all__ = ["FeatureSolution", "LayerFunction", "StackedLayers", "feedforward"]
