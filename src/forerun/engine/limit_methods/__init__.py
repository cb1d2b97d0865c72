"""How the values of a map become the point to evaluate next."""

from forerun.engine.limit_methods.anderson_mixing import AndersonMixing
from forerun.engine.limit_methods.anderson_type_one import AndersonTypeOne
from forerun.engine.limit_methods.auto_mixing import AutoMixing
from forerun.engine.limit_methods.averaged import Averaged
from forerun.engine.limit_methods.base import LimitMethod, LimitPoint, MapTools, NextPoint
from forerun.engine.limit_methods.broyden import Broyden
from forerun.engine.limit_methods.contractive_halpern import ContractiveHalpern
from forerun.engine.limit_methods.cycled import Cycled
from forerun.engine.limit_methods.filtered_anderson import FilteredAnderson
from forerun.engine.limit_methods.halpern import Halpern
from forerun.engine.limit_methods.newton_krylov import NewtonKrylov
from forerun.engine.limit_methods.periodic import Periodic
from forerun.engine.limit_methods.plain import Plain
from forerun.engine.limit_methods.sequence_transforms import Aitken, Levin, SequenceTransform, Shanks

__all__ = [
    "Aitken",
    "AndersonMixing",
    "AndersonTypeOne",
    "AutoMixing",
    "Averaged",
    "Broyden",
    "ContractiveHalpern",
    "Cycled",
    "FilteredAnderson",
    "Halpern",
    "Levin",
    "LimitMethod",
    "LimitPoint",
    "MapTools",
    "NewtonKrylov",
    "NextPoint",
    "Periodic",
    "Plain",
    "SequenceTransform",
    "Shanks",
]
