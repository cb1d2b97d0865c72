"""Coloured solids in three dimensions: a world small enough to do text to 3-D on one core, and to measure the result.

Eight shapes in six colours, known exactly as signed distances: `prompts` names them, `render` shows the true solids
from any camera. A `Sculpture` is a voxel field that a diffusion prior pulls to what a prompt says, and its quality is
the distance of its pictures from the true ones.

What ships: the prior, a UNet of 1.5 million weights for pictures of 32 x 32, conditioned on a prompt and a camera
(`prior.load.load_prior`; `prior/weights/` with the facts of its training), and the command that made it
(`python -m forerun.worlds.solids.prior.train`). The prior needs diffusers and transformers.
"""
