"""Recurrent cells: all steps of a sequence at once, with their gradient."""
