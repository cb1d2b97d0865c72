"""Any diffusers pipeline, unmodified, ahead of order."""
