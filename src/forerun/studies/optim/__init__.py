"""Studies of training: schedules, optimisers without gradients, what trains and what does not, quantised weights."""
