"""Flow: the differential equation that a momentum rule follows as its steps become small.

With `h^2 = 2 step_size / (1 + momentum)` the rule is, to the order of its step size, a ball with friction,

    x'' + friction x' + correction H(x) x' + grad f(x) = 0,
    friction = h (1 - momentum) / step_size,  correction = h lookahead,

one step taking the time `h`: for Nesterov's rules friction is `2 sqrt(mu)`, and the correction, a friction along the
Hessian, is what tells them from heavy ball (Shi, Du, Jordan and Su, Math. Programming 195,
2022). The expansion is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from forerun.limits.momentum.rules import ConstantMomentum, trace_rule

FLOW_PRECISION = 1e-10  # relative, of the integration


@dataclass(frozen=True)
class MomentumFlow:
    """The differential equation of a rule; `follow_flow` integrates it.

    Attributes:
        time_step: time that one step of the rule takes, `h`.
        friction: share of the velocity that is lost a unit of time.
        correction: weight of the friction along the Hessian.
    """

    time_step: float
    friction: float
    correction: float

    @classmethod
    def of_rule(cls, rule: ConstantMomentum, *, corrected: bool = True) -> MomentumFlow:
        """Return the flow of a rule; without its correction, Nesterov's method looks like heavy ball."""
        time_step = sqrt(2 * rule.step_size / (1 + rule.momentum))
        friction = time_step * (1 - rule.momentum) / rule.step_size
        return cls(time_step, friction, time_step * rule.lookahead if corrected else 0.0)

    def accelerate(self, gradient: Callable[[Tensor], Tensor], point: Tensor, velocity: Tensor) -> Tensor:
        """Return the acceleration of a ball at a point, `(D,)`."""
        slope = gradient(point)
        pull = -self.friction * velocity - slope
        if not self.correction:
            return pull
        bend: Tensor = torch.func.jvp(gradient, (point,), (velocity,))[1]
        return pull - self.correction * bend

    def begin_velocity(self, slope: Tensor) -> Tensor:
        """Return the velocity of a ball that a rule began at rest: half a step behind the point."""
        half_step = self.time_step / 2
        return -half_step * slope / (1 + half_step * self.friction)


def follow_flow(
    flow: MomentumFlow,
    gradient: Callable[[Tensor], Tensor],
    x0: Tensor,
    times: Sequence[float],
) -> Tensor:
    """Integrate a flow from rest, by scipy's DOP853.

    Args:
        flow: the equation, `MomentumFlow.of_rule(rule)`.
        gradient: takes a point `(D,)` to the gradient there.
        x0: the first point, float64 `(D,)`.
        times: to return points at, increasing, from 0 on; step t of the rule is at `t * flow.time_step`.

    Returns:
        The points `(len(times), D)`.

    Raises:
        ImportError: scipy is not installed.
        RuntimeError: the equation is too stiff to integrate.
    """
    from scipy.integrate import solve_ivp

    def change(_: float, packed: object) -> object:
        point, velocity = torch.as_tensor(packed).chunk(2)
        acceleration = flow.accelerate(gradient, point, velocity)
        return torch.cat([velocity, acceleration]).numpy()

    first = torch.cat([x0, flow.begin_velocity(gradient(x0))]).double().numpy()
    result = solve_ivp(
        change,
        (0.0, max(times)),
        first,
        method="DOP853",
        t_eval=list(times),
        rtol=FLOW_PRECISION,
        atol=FLOW_PRECISION,
    )
    if not result.success:
        raise RuntimeError(f"the flow could not be integrated: {result.message}; pass a shorter span of times")
    return torch.as_tensor(result.y.T[:, : len(x0)])


def distance_to_flow(
    rule: ConstantMomentum, gradient: Callable[[Tensor], Tensor], x0: Tensor, duration: float
) -> float:
    """Return the largest distance between a rule and its flow over a span of time: of the order of the step size."""
    flow = MomentumFlow.of_rule(rule)
    steps = int(duration / flow.time_step)
    path = follow_flow(flow, gradient, x0, [index * flow.time_step for index in range(steps + 1)])
    return float((path - trace_rule(rule, gradient, x0, steps)).abs().max())
