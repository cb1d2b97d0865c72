"""Equilibrium: networks that are iterated, for some steps or to where they stop changing, and one for graphs."""

from forerun.limits.equilibrium.bounded_weights import BoundedWeight, bound_weights
from forerun.limits.equilibrium.equilibrium import Equilibrium, RelaxedModule
from forerun.limits.equilibrium.graph_operator import GraphOperator
from forerun.limits.equilibrium.node_training import measure_accuracy, train_on_nodes
from forerun.limits.equilibrium.pign import PIGN

__all__ = [
    "PIGN",
    "BoundedWeight",
    "Equilibrium",
    "GraphOperator",
    "RelaxedModule",
    "bound_weights",
    "measure_accuracy",
    "train_on_nodes",
]
