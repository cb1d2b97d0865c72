"""Parts of text to 3-D for one's own use: cameras, a voxel field and its pictures, the field's surface as a mesh."""
