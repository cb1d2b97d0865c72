"""Simulated robots, demonstrations and trained policies, to measure samplers on."""
