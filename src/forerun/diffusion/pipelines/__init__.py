"""Any diffusers pipeline, unmodified: its steps traced, solved in parallel, and walked by the pipeline itself."""
