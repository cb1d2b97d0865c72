"""Text to 3-D on a small scale: a world of coloured solids, a prior of their pictures, a voxel field, its mesh."""
