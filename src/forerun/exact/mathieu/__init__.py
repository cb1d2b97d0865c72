"""Mathieu's conjecture: exact moments on compact groups, the counterexample on SU(2), and searches for others."""

from forerun.exact.mathieu.functions import MatrixFunction, coordinate_functions, haar_moment
from forerun.exact.mathieu.moments import MomentTable, list_moments, long_counterexample
from forerun.exact.mathieu.searches import SearchCount, list_products, list_sums, search_counterexamples
from forerun.exact.mathieu.weyl_integration import (
    CompactGroup,
    integrate_class_function,
    list_trace_moments,
    sp_two,
    su_three,
    su_two,
)

__all__ = [
    "CompactGroup",
    "MatrixFunction",
    "MomentTable",
    "SearchCount",
    "coordinate_functions",
    "haar_moment",
    "integrate_class_function",
    "list_moments",
    "list_products",
    "list_sums",
    "list_trace_moments",
    "long_counterexample",
    "search_counterexamples",
    "sp_two",
    "su_three",
    "su_two",
]
