"""Equilibrium: any module iterated in its first argument, damped, for some steps or to its limit.

    z <- (1 - share) z + share module(z, *inputs)

A refinement that is trained for a few steps ("recycling") and an equilibrium layer are the same loop: `iterate` keeps
every step and its graph, `forward` goes to the limit and keeps nothing.
"""

from __future__ import annotations

from typing import Any, Unpack, final

from torch import nn
from torch.utils import _pytree as pytree

from forerun.engine.numerics.tree import Tree
from forerun.engine.search import Limit, LimitOptions
from forerun.engine.search.options import LimitKeywords
from forerun.limits.equilibrium.bounded_weights import bound_weights
from forerun.limits.implicit import Implicit


@final
class RelaxedModule(nn.Module):
    """One damped step of a module, `(1 - share) z + share module(z, *inputs)`; it has the same limits.

    Args:
        module: `(z, *inputs) -> z`, of the structure and shapes of `z`.
        share: of the module's value, in (0, 1].
    """

    def __init__(self, module: nn.Module, share: float) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share={share} is not a share of the module's value; pass one in (0, 1], such as 0.5")
        self.module = module
        self.share = share

    def forward(self, z: Tree, *inputs: Any, **named_inputs: Any) -> Any:
        """Return the state after one step."""
        values = self.module(z, *inputs, **named_inputs)
        if self.share == 1:
            return values
        return pytree.tree_map(lambda old, new: old + self.share * (new - old), z, values)


@final
class Equilibrium(nn.Module):
    """A module iterated in its first argument (Zappala et al., arXiv 2310.01618; Bai, Kolter and Koltun, NeurIPS 2019).

        layer = Equilibrium(nn.Sequential(nn.Linear(8, 8), nn.Tanh()), lipschitz=0.9)
        z = layer(z0)                      # the limit, with implicit gradients
        states = layer.iterate(z0, steps=5)  # z_1 to z_5, with gradients through all

    With `lipschitz=` below 1 and activations of slope at most 1 the limit exists, is the only one, and is reached from
    everywhere: `certificate=Banach(1 - share + share * lipschitz)` proves how near the value is.

    Args:
        module: `(z, *inputs) -> z`; torch-geometric's layers are modules like others, `GCNConv(h, edge_index)`.
        share: of the module's value in a step; less than 1 damps a module that overshoots or goes round.
        lipschitz: bound of the operator norm of each weight; None leaves them alone.
        batch_dims: leading axes of `z` that count independent problems, which end one by one; 0 for a graph.
        throw: raise where no limit was reached; False hands out the best state, and `.limit.status` says so.
        adjoint: how the adjoint is solved, where not as the limit is.
        options: how the limit is searched; `LimitOptions`.
        keywords: the options one by one.

    Raises:
        ValueError: the share is none, or there is no weight to bound.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        share: float = 1.0,
        lipschitz: float | None = None,
        batch_dims: int = 0,
        throw: bool = True,
        adjoint: LimitOptions | None = None,
        options: LimitOptions | None = None,
        **keywords: Unpack[LimitKeywords],
    ) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"Equilibrium iterates an nn.Module, got {module!r}; for functions write Implicit(function)"
            )
        if lipschitz is not None:
            bound_weights(module, lipschitz)
        self.step = RelaxedModule(module, share)
        search = LimitOptions.gather(options, keywords)
        self.search = Implicit(
            self.step,
            batch_dims=batch_dims,
            throw=throw,
            adjoint=adjoint,
            options=search,
        )

    @property
    def limit(self) -> Limit | None:
        """What is known of the last limit: its evaluations, status and error."""
        return self.search.limit

    def forward(self, z0: Tree, *inputs: Any, **named_inputs: Any) -> Any:
        """Return the limit, differentiable in the parameters and the inputs.

        Args:
            z0: where the search begins, a tree of tensors.
            inputs: the module's other arguments.
            named_inputs: likewise, by name.

        Raises:
            NoLimit: none was reached, and `throw`.
        """
        return self.search(z0, *inputs, **named_inputs)

    def iterate(self, z0: Tree, *inputs: Any, steps: int, **named_inputs: Any) -> list[Any]:
        """Return the states after every step, differentiable through all of them, `z0` included."""
        if steps < 1:
            raise ValueError(f"steps={steps} takes no step; pass 1 or more")
        states: list[Any] = []
        state: Any = z0
        for _ in range(steps):
            state = self.step(state, *inputs, **named_inputs)
            states.append(state)
        return states
