"""Feedforward depth: the layers of a network as nonlinear equations, solved together."""

from forerun.sequence.depth.feedforward import Features, feedforward
from forerun.sequence.depth.layers import Layers, Stacked

__all__ = ["Features", "Layers", "Stacked", "feedforward"]
