"""Simulated robots, demonstrations and trained diffusion policies, to measure samplers of actions on.

Five tasks (`tasks`): four of Meta-World's Sawyer arm, one of them round a pillar on either side, and Push-T. Experts
show them, `Demonstrations` cut what they did into chunks, `fit_policy` trains a `ChunkPolicy`, `run_episodes` lets it
act, and `InOrderSampler` is the plain loop that `forerun.policy.Sampler` is compared with.

What ships: a policy of 0.3 million weights for every task but `push`, and one for real-time iteration (`weights/`,
each with the facts of its training), and two commands, `forerun policy` and `forerun train-policy`. The simulators come
with `pip install 'forerun[robots]'` and `pip install 'forerun[push-t]'`.
"""
