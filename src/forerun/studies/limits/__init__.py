"""Studies of limits: where an iteration ends, how fast it gets there, and what is known of the error."""
