"""A process in rows: its problem, its steps as affine maps, and the sweep."""
