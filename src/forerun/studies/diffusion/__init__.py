"""Studies of diffusion models: how they are sampled in parallel over the steps."""
