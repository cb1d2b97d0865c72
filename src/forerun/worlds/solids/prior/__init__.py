"""The prior of `forerun text3d`: networks, training, the trained weights."""
