"""Autoregressive models, many values a pass: images from masked networks, text from causal language models."""
