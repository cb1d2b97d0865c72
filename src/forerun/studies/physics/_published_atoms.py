"""Published atoms in the local density approximation: energies in Hartree that a study is held against."""

# Total energies in Hartree: the tables of NIST to six digits; uranium from featom's own tests.
PUBLISHED_ENERGIES = {
    1: -0.445671,
    2: -2.834836,
    6: -37.425749,
    10: -128.233481,
    18: -525.946195,
    36: -2750.147940,
    54: -7228.856107,
    86: -21861.346869,
}
URANIUM = 92
URANIUM_ENERGY = -25658.4178888534
URANIUM_LEVELS = {
    "1s": -3689.3551398369,
    "2s": -639.7787280866,
    "2p": -619.1085501807,
    "3s": -161.1180732100,
    "3p": -150.9789801633,
    "3d": -131.9773582831,
    "4s": -40.5280842452,
    "4p": -35.8533208325,
    "4d": -27.1232122996,
    "4f": -15.0274600691,
    "5s": -8.8240894015,
    "5p": -7.0180922045,
    "5d": -3.8661751349,
    "5f": -0.3665433531,
    "6s": -1.3259763180,
    "6p": -0.8225379709,
    "6d": -0.1431901813,
    "7s": -0.1309478622,
}
