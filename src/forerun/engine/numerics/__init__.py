"""Trees of tensors, noise that belongs to a step, and affine scans: what knows no process."""
