"""The commands of robots: train a policy, and let it act."""
