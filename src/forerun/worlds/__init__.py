"""What forerun is tried on: digits, scenes, solids and robots, with the weights that were trained for them.

Each world is small enough to run and to retrain on one core, and known well enough to measure results by. Libraries
(`diffusion`, `optim`, `policy`, `sequence`) know nothing of them; examples, benchmarks, studies and commands do.

| world | what ships | made by |
|---|---|---|
| `digits` | a denoiser, a MADE and a PixelCNN of 8 x 8 digits | `digits.train_denoiser`, `train_autoregressive` |
| `scenes` | a text-to-image pipeline for captioned solids, and a classifier that reads its pictures | `scenes.train` |
| `solids` | a prior for text to 3-D, conditioned on prompt and camera | `solids.prior.train` |
| `conductivity` | a preconditioner for five-point diffusion | `conductivity.train_preconditioner` |
| `robots` | diffusion policies for simulated arms and Push-T | `forerun train-policy` |

`block_model` draws graphs with classes, and nothing is trained for it. The others are trained by one loop (`training`).
"""
