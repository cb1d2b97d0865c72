"""A production plan: solved, then asked for too much, and the contradiction shown in the user's own rows.

python examples/22_a_plan_that_cannot_work.py
"""

import numpy as np

from forerun.limits.infeasibility import gather_linprog, solve_lp, solve_qp

# Two machines make three products; profit is what we want, so its negative is the cost.
profit = np.array([3.0, 5.0, 4.0])
hours = np.array([[2.0, 3.0, 0.0], [0.0, 2.0, 5.0]])
available = np.array([8.0, 10.0])

plan = solve_lp(-profit, hours, row_upper=available, lower=0.0)
print(f"make {plan.value.round(3)}, profit {-plan.objective:.3f}; an hour more is worth {plan.y.round(3)}")

# A customer orders at least four of each: which rows do not go together?
rows = np.vstack([hours, np.eye(3)])
ordered = solve_lp(
    -profit,
    rows,
    row_lower=[-np.inf, -np.inf, 4.0, 4.0, 4.0],
    row_upper=[*available, np.inf, np.inf, np.inf],
    lower=0.0,
)
print(f"\n{ordered}")
print(f"multipliers of the rows: {ordered.primal_proof.vector.round(3)}")

# Without machines nothing limits the profit; a square penalty does.
print(f"\n{solve_lp(-profit, lower=0.0).advice}")
print(f"with a penalty: {solve_qp(np.eye(3), -profit, lower=0.0).value.round(3)}")

# A program written for scipy.optimize.linprog is taken as it is.
same = solve_lp(**gather_linprog(-profit, A_ub=hours, b_ub=available))
print(f"\nthe first plan again: {same.value.round(3)}")
