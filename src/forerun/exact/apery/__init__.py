"""Apery-like series: inverse binomial sums and coloured zeta values in balls, and relations between them."""

from forerun.exact.apery.coloured import ColouredZeta, integrate_word
from forerun.exact.apery.constants import silver_constants
from forerun.exact.apery.relations import Relation, exclude_relations, find_relation
from forerun.exact.apery.series import BinomialSeries

__all__ = [
    "BinomialSeries",
    "ColouredZeta",
    "Relation",
    "exclude_relations",
    "find_relation",
    "integrate_word",
    "silver_constants",
]
