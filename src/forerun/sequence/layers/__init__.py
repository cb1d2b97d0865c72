"""Feedforward depth: the layers of a network as nonlinear equations, solved together."""

from forerun.sequence.layers.feedforward import Features, feedforward
from forerun.sequence.layers.layers import Layers, Stacked

__all__ = ["Features", "Layers", "Stacked", "feedforward"]
