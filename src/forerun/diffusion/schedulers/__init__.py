"""Any diffusers scheduler, unmodified, as a Process."""
