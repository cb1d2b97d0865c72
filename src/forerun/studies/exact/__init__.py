"""Studies of `exact`."""
