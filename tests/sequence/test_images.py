"""Images from masked networks: the pixels of the ordinary loop, whatever the method."""

import pytest
import torch
from torch import nn

from forerun import Full, Picard, Sequential, Sliding
from forerun.engine.methods import GaussSeidel, JacobiGaussSeidel, PicardGaussSeidel
from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence import Fill, Made, PixelCNN, Repeat, sample
from forerun.sequence.autoregressive import logistic
from forerun.sequence.autoregressive.pixelcnn import RowPass
from forerun.worlds.digits import load_made, load_pixelcnn

METHODS = [
    Sequential(), Picard(), GaussSeidel(8, Picard()), GaussSeidel(5), PicardGaussSeidel(8),
    JacobiGaussSeidel(8),
]  # fmt: skip


def noise(count=2, dtype=torch.float32):
    return torch.rand(count, 64, generator=torch.Generator().manual_seed(0), dtype=dtype)


def ancestral(network, uniform):
    """The loop that everyone writes."""
    images = torch.zeros_like(uniform)
    with torch.no_grad():
        for pixel in range(uniform.shape[1]):
            images[:, pixel] = logistic.draw_pixels(network(images)[:, pixel], uniform[:, pixel])
    return images


@pytest.fixture(scope="module", params=["made", "pixelcnn"])
def drawn(request):
    network = load_made() if request.param == "made" else load_pixelcnn()
    return network, ancestral(network, noise())


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_draws_the_pixels_of_the_loop(drawn, method):
    network, truth = drawn
    found = sample(network, noise(), method=method)
    assert torch.equal(found.images, truth)
    assert found.rounds <= 64


@pytest.mark.parametrize("guess", [Fill(-1.0), Repeat(8)], ids=repr)
@pytest.mark.parametrize("window", [Sliding(1), Sliding(13), Full()], ids=repr)
@pytest.mark.parametrize("method", [Sequential(), Picard(), GaussSeidel(8, Picard())], ids=repr)
def test_rows_that_are_kept_change_nothing(window, guess, method):
    network = load_pixelcnn()
    found = sample(network, noise(), method=method, window=window, guess=guess, cached=True)
    assert torch.equal(found.images, ancestral(network, noise()))


def test_double_precision():
    network = load_pixelcnn().double()
    uniform = noise(dtype=torch.float64)
    assert torch.equal(sample(network, uniform).images, ancestral(network, uniform))


def test_ahead_needs_fewer_passes():
    for network in (load_made(), load_pixelcnn()):
        assert sample(network, noise(1), guess=Fill(-1.0)).rounds < 32


@pytest.mark.parametrize("network", [Made(pixels=9, width=20), PixelCNN(side=3, width=4, depth=2)], ids=["made", "cnn"])
def test_pixels_follow_from_those_before_them_alone(network):
    network = network.double()
    image = torch.randn(1, 9, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x).sum(-1)[0], image)[:, 0]
    assert (jacobian.triu() == 0).all()
    assert (jacobian.tril(-1) != 0).sum() == 9 * 8 / 2


def test_a_pass_over_some_rows_is_that_part_of_the_whole():
    network = PixelCNN(side=5, width=4, depth=2).double()
    image, rows = torch.randn(2, 25, dtype=torch.float64), RowPass()
    whole = network.compute_rows(image, rows)
    later = RowPass(2, rows.rows_above(2))
    torch.testing.assert_close(network.compute_rows(image, later), whole[:, 10:])
    torch.testing.assert_close(network.compute_rows(image[:, :20], RowPass(3, later.rows_above(3))), whole[:, 15:20])


def test_probabilities_sum_to_one_and_inversion_follows_them():
    parameters = torch.randn(5, 9, dtype=torch.float64)
    each = torch.stack([logistic.pixel_bits(parameters, torch.full((5,), level)) for level in range(17)])
    torch.testing.assert_close((2.0**-each).sum(0), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-5)
    uniform = torch.rand(20000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = logistic.draw_pixels(parameters[:1].expand(20000, 9), uniform)
    shares = torch.stack([(values == logistic.to_values(torch.tensor(level))).double().mean() for level in range(17)])
    torch.testing.assert_close(shares, 2.0 ** -each[:, 0], rtol=0, atol=0.02)


class Identity(nn.Module):
    def forward(self, images):
        return images.unsqueeze(-1).expand(*images.shape, 9)


class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout()

    def forward(self, images):
        return torch.zeros(*images.shape, 9)


class Flat(nn.Module):
    def forward(self, images):
        return images


@pytest.mark.parametrize(
    "network, uniform, options, line",
    [
        (Identity(), noise(), {}, "looks ahead: pixel 0 changed with the pixels from 0 on"),
        (Dropping(), noise(), {}, r"network\.eval\(\)"),
        (Flat(), torch.rand(3, 0), {}, "torch.rand"),
        (Flat(), torch.rand(3), {}, "torch.rand"),
        (Flat(), torch.zeros(3, 4, dtype=torch.int64), {}, "torch.rand"),
        (PixelCNN(side=4), torch.rand(2, 64), {}, "4 x 4"),
        (Flat(), torch.rand(2, 9).reshape(2, 9), {}, "looks ahead"),
        (nn.Unflatten(1, (1, 9)), torch.rand(2, 9), {}, "must return"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(network, uniform, options, line):
    with pytest.raises(ValueError, match=line):
        sample(network, uniform, **options)


def test_only_a_pixelcnn_keeps_rows():
    with pytest.raises(TypeError, match="cached=False"):
        sample(load_made(), noise(), cached=True)


def test_rows_that_are_kept_are_not_computed_again(monkeypatch):
    network, computed = load_pixelcnn(), []
    ordinary = PixelCNN.compute_rows

    def watched(self, images, rows):
        computed.append(images.shape[1] // 8 - rows.first)
        return ordinary(self, images, rows)

    monkeypatch.setattr(PixelCNN, "compute_rows", watched)
    sample(network, noise(1), method=Sequential(), cached=True, witness=False)
    probes, passes = computed[:3], computed[3:]
    assert (probes, len(passes)) == ([8, 8, 8], 64)
    assert sum(passes) == 64 + 7  # a row each, and the one above once more where a row begins


class Conditional(nn.Module):
    """A label for every image, so that it takes no other number of images."""

    def __init__(self, labels):
        super().__init__()
        self.network, self.shifts = load_pixelcnn(), torch.randn(len(labels), 1, 9) * 0.1

    def forward(self, images):
        return self.network(images) + self.shifts


def test_a_label_for_every_image():
    network = Conditional(torch.tensor([1, 2, 3]))
    found = sample(network, noise(3), guess=Fill(-1.0))
    assert torch.equal(found.images, ancestral(network, noise(3)))
    assert found.witnessed == 3


class Pooling(nn.Module):
    def forward(self, images):
        before = nn.functional.pad(images.cumsum(-1), (1, 0))[:, :-1]
        return before.sin().unsqueeze(-1)


def centred(parameters, uniform):
    """Looks at how many pixels it is asked for, which the loop asks for one by one."""
    return parameters[..., 0] + uniform - parameters[..., 0].mean(1, keepdim=True)


def test_a_network_that_disagrees_draws_in_order_with_a_word():
    network, uniform = Pooling(), noise(2, torch.float64)
    with pytest.warns(WitnessWarning, match="ordinary loop drew the images"):
        found = sample(network, uniform, draw=centred)
    truth = torch.zeros_like(uniform)
    for pixel in range(64):
        truth[:, pixel] = centred(network(truth)[:, pixel : pixel + 1], uniform[:, pixel : pixel + 1])[:, 0]
    assert torch.equal(found.images, truth)
    with pytest.raises(WitnessDisagrees, match="strict=True"):
        sample(network, uniform, draw=centred, strict=True)
    assert "witness=False" in str(sample(network, uniform, draw=centred, witness=False))
