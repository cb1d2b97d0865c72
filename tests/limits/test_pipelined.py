"""Pipelined chains: K regressions on their way together end where the chain does, and get farther in equal rounds."""

import pytest
import torch
from limits.maps import DOUBLE, normal

from forerun.engine.testing import check_map
from forerun.limits import AndersonMixing, LimitStatus, NoLimit
from forerun.limits.pipelined import PipelinedMap, begin_window, iterate_pipelined, shift_window


class Garnet:
    """A random decision process with linear features: gradient steps on the regression towards the Bellman operator."""

    def __init__(self, states=40, actions=3, discount=0.95):
        P = normal(states, actions, states).abs() ** 8
        self.P = P / P.sum(-1, keepdim=True)
        self.reward = normal(states, actions, seed=1)
        self.discount = discount
        features = normal(states * actions, states * actions, seed=2) / 12
        self.features = features + 0.3 * torch.eye(states * actions, dtype=DOUBLE)
        self.rate = 1 / float(torch.linalg.matrix_norm(self.features, 2)) ** 2
        self.limit = torch.zeros(states, actions, dtype=DOUBLE)
        for _ in range(800):
            self.limit = self.bellman(self.limit)

    def bellman(self, Q):
        return self.reward + self.discount * (self.P @ Q.amax(-1)[..., None, :, None]).squeeze(-1)

    def values(self, weights):
        return (weights @ self.features.T).reshape(*weights.shape[:-1], *self.reward.shape)

    def update(self, weights, sources):
        """One gradient step of every iterate `(K, D)` towards the operator of the one before it."""
        errors = self.values(weights) - self.bellman(self.values(sources))
        return weights - self.rate * errors.flatten(-2) @ self.features

    def distance(self, weights):
        return float((self.values(weights) - self.limit).norm() / self.limit.norm())


GARNET = Garnet()


def test_more_heads_get_farther_in_equal_rounds():
    distances = []
    for heads in (1, 5, 20):
        chain = iterate_pipelined(
            GARNET.update, torch.zeros(120, dtype=DOUBLE), heads=heads, rounds=20, max_evaluations=15, throw=False,
            repeatable=False,
        )  # fmt: skip
        assert chain.status is LimitStatus.OUT_OF_BUDGET
        assert (chain.rounds, chain.updates) == (300, 300 * heads)
        distances.append(GARNET.distance(chain.value))
    assert distances[1] < 0.9 * distances[0]
    assert distances[2] < 0.9 * distances[1]


def test_one_head_is_the_loop_with_a_target_network():
    weights = target = torch.zeros(120, dtype=DOUBLE)
    for step in range(60):
        weights = GARNET.update(weights, target)
        if step % 20 == 19:
            target = weights
    state = begin_window(torch.zeros(120, dtype=DOUBLE), 1)
    chain = PipelinedMap(GARNET.update, rounds=20)
    for _ in range(3):
        state = chain.evaluate(state)
    assert torch.allclose(state[-1], weights)


def test_held_targets_are_those_of_the_last_refresh():
    sources = []

    def update(iterates, before):
        sources.append(before[0].clone())
        return iterates + 1

    window = begin_window(torch.zeros(1), 2)
    after = PipelinedMap(update, rounds=4, refresh=2).take_rounds(window)
    assert after[:, 0].tolist() == [0, 4, 4]
    assert [float(source) for source in sources] == [0, 0, 0, 0]
    assert shift_window(torch.tensor([[0.0], [4.0], [5.0]]))[:, 0].tolist() == [4, 5, 5]


@pytest.mark.parametrize("heads", [1, 4])
def test_the_limit_is_that_of_the_chain(heads):
    """Regressions onto `A x + b`, by steps half of the way."""
    A, b = 0.8 * torch.linalg.qr(normal(6, 6))[0], normal(6, seed=1)
    limit = torch.linalg.solve(torch.eye(6, dtype=DOUBLE) - A, b)

    def update(iterates, sources):
        return {"x": iterates["x"] + 0.5 * (sources["x"] @ A.T + b - iterates["x"])}

    first = {"x": torch.zeros(6, dtype=DOUBLE)}
    plain = iterate_pipelined(update, first, heads=heads, rounds=3, tolerance=1e-11)
    assert torch.allclose(plain.value["x"], limit, atol=1e-9)
    mixed = iterate_pipelined(update, first, heads=heads, rounds=3, tolerance=1e-11, method=AndersonMixing(8))
    assert torch.allclose(mixed.value["x"], limit, atol=1e-9)
    assert mixed.rounds < plain.rounds
    check_map(PipelinedMap(update, 3), begin_window(first, heads))


def test_an_interrupted_chain_goes_on():
    def update(iterates, sources):
        return iterates + 0.5 * (0.9 * sources + 1 - iterates)

    first = torch.zeros(1, dtype=DOUBLE)
    part = iterate_pipelined(update, first, heads=3, tolerance=1e-9, max_evaluations=5, throw=False)
    assert part.checkpoint is not None
    assert float(iterate_pipelined(update, first, heads=3, tolerance=1e-9).value) == pytest.approx(10, abs=1e-6)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"heads": 0}, "heads=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"refresh": 0}, "refresh=0"),
        ({"update": lambda iterates, sources: iterates[0]}, "axis of the iterates"),
    ],
)
def test_chains_of_nothing_are_refused(change, says):
    arguments = {"update": lambda iterates, sources: 0.5 * sources, "heads": 2, "rounds": 2} | change
    with pytest.raises(ValueError, match=says):
        iterate_pipelined(first=torch.zeros(3), **arguments)


def test_a_chain_that_runs_away_is_said_to():
    with pytest.raises(NoLimit):
        iterate_pipelined(lambda iterates, sources: 2 * sources + 1, torch.ones(2), heads=2, rounds=1)
