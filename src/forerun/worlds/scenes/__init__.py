"""Pictures of coloured solids and what is said of them: renderer, captions, a trained pipeline, a classifier."""
