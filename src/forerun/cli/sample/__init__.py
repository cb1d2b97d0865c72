"""`forerun sample`: text to image with a pipeline of diffusers, in order and ahead."""
