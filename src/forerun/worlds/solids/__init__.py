"""Coloured solids, a prior that knows their pictures, and sculptures that it shapes."""
