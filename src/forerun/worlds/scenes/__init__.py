"""Pictures of one or two coloured solids, and captions that say what is on them.

A world that a small text-to-image pipeline can learn on one core: `render_scenes` draws scenes, `write_caption` and
`parse_caption` say and understand them, and a classifier reads back what a pipeline drew.

What ships: a trained `StableDiffusionPipeline` for 64 x 64 pictures (`load_scenes_pipeline`, four million weights) and
the classifier (`load_scene_classifier`), both in `weights/` with the facts of their training, and the command that made
them (`python -m forerun.worlds.scenes.train`). The pipeline needs diffusers and transformers.
"""
