"""`forerun text3d`: a thing in three dimensions from a prompt, its optimiser running ahead of itself."""
