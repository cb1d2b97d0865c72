"""Learners' languages: learners, lenses and Moore machines that compose, and propositions about them."""

from forerun.exact.learners.invariants import (
    FiniteMachine,
    InvariantCheck,
    InvariantMap,
    SafeStates,
    find_safe_states,
    mirror_descent,
    prove_invariant,
    search_violation,
)
from forerun.exact.learners.laws import are_equal, check_laws, draw_learner
from forerun.exact.learners.lenses import SimpleLens, SpaceMismatch, identity_lens
from forerun.exact.learners.machines import MooreMachine, machine_of_learner, machine_of_process, process_of_learner
from forerun.exact.learners.modules import learner_of_module, train_by_sgd
from forerun.exact.learners.typed_learner import (
    TypedLearner,
    bias_learner,
    identity_learner,
    lens_of_learner,
    scale_learner,
    square_learner,
)

__all__ = [
    "FiniteMachine",
    "InvariantCheck",
    "InvariantMap",
    "MooreMachine",
    "SafeStates",
    "SimpleLens",
    "SpaceMismatch",
    "TypedLearner",
    "are_equal",
    "bias_learner",
    "check_laws",
    "draw_learner",
    "find_safe_states",
    "identity_learner",
    "identity_lens",
    "learner_of_module",
    "lens_of_learner",
    "machine_of_learner",
    "machine_of_process",
    "mirror_descent",
    "process_of_learner",
    "prove_invariant",
    "scale_learner",
    "search_violation",
    "square_learner",
    "train_by_sgd",
]
