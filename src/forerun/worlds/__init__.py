"""What forerun is tried on: digits, scenes, solids and robots, with the weights that were trained for them."""
