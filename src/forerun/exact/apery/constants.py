"""Constants of level eight: what alternating inverse binomial series come to."""

from __future__ import annotations

from typing import Any

from forerun.exact.apery.precision import work_precisely
from forerun.exact.exact_libraries import load_flint


def silver_constants(digits: int = 80) -> dict[str, Any]:
    """Return real balls of what the series at base -4 are made of, by name.

    With `q = (sqrt 2 - 1)^2 = 3 - 2 sqrt 2`: "sqrt2", "L" for `log(1 + sqrt 2)`, "log2", "pi", "G" for Catalan's
    constant, "zeta3", and "Li2(q)" to "Li4(q)", "Li3(1-q)", "Li4(1-q)", "Li4(q/(q-1))".

    Args:
        digits: how many are wanted.

    Raises:
        ValueError: the digits are out of range.
        ImportError: python-flint is not installed.
    """
    flint = load_flint()
    with work_precisely(digits):
        root = flint.arb(2).sqrt()
        q = 3 - 2 * root
        constants = {
            "sqrt2": root,
            "L": (1 + root).log(),
            "log2": flint.arb(2).log(),
            "pi": flint.arb.pi(),
            "G": flint.arb.const_catalan(),
            "zeta3": flint.arb(3).zeta(),
        }
        for order, argument, name in ((2, q, "q"), (3, q, "q"), (4, q, "q"), (3, 1 - q, "1-q"), (4, 1 - q, "1-q"),
                                      (4, q / (q - 1), "q/(q-1)")):  # fmt: skip
            constants[f"Li{order}({name})"] = flint.acb(argument).polylog(order).real
        return constants
