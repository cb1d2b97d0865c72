"""The prior of `forerun text3d`: its networks, its training and the trained weights that ship."""
