import copy

import pytest
import torch

from forerun import Picard, Sequential, Sliding

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from diffusers import AutoencoderKL, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel

from forerun.optim import Batched, Loop, StepLength
from forerun.optim.distillation import (
    SDS,
    VSD,
    AnnealedRange,
    CameraConditioning,
    ConstantRange,
    DirectionalPrompts,
    DistilledModel,
    FixedPrompt,
    LatentSpace,
    Prior,
    SwitchedRange,
    uniform_weight,
    variance_weight,
)

PROMPT = FixedPrompt({"shift": torch.tensor([0.0])}, {"shift": torch.tensor([1.0])})
KINDS = ("epsilon", "v_prediction", "sample", "flow")


def scheduler(kind):
    return FlowMatchEulerDiscreteScheduler() if kind == "flow" else DDPMScheduler(prediction_type=kind)


class Point:
    """A perfect model of one picture, of 0.25 in [-1, 1], that the negative prompt shifts; counts its pictures."""

    def __init__(self, kind):
        self.kind, self.scheduler, self.seen = kind, scheduler(kind), 0

    def signal_and_noise(self, t):
        if self.kind == "flow":
            return 1 - t / 1000, t / 1000
        kept = self.scheduler.alphas_cumprod[t]
        return kept.sqrt(), (1 - kept).sqrt()

    def __call__(self, noisy, timesteps, shift):
        self.seen += len(noisy)
        signal, noise = (each[:, None, None, None] for each in self.signal_and_noise(timesteps))
        clean = torch.full_like(noisy, 0.25) + shift[:, None, None, None]
        z = (noisy - signal * clean) / noise
        v = signal * z - noise * clean
        return {"epsilon": z, "v_prediction": v, "sample": clean, "flow": z - clean}[self.kind]


def gradient(loss, pictures, steps=(3, 7), cameras=None):
    pictures = pictures.clone().requires_grad_()
    loss(pictures, torch.tensor(steps), cameras).sum().backward()
    return pictures.grad


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_points_from_the_likely_picture_whatever_is_predicted(kind):
    point = Point(kind)
    sds = SDS(
        Prior(point, point.scheduler, PROMPT), guidance=1.0, weight=uniform_weight, timesteps=ConstantRange(0.5, 0.5)
    )
    pictures = torch.rand(2, 1, 3, 4, 4, dtype=torch.float64)
    signal, noise = point.signal_and_noise(torch.tensor(500))
    # z(x_t) - z = s (x - D) / n in the model's range, which is twice as wide
    expected = 2 * signal / noise * (2 * pictures - 1 - 0.25)
    torch.testing.assert_close(gradient(sds, pictures), expected.double(), rtol=1e-4, atol=1e-4)


def test_guidance_goes_beyond_and_one_asks_once():
    point = Point("epsilon")
    prior = Prior(point, point.scheduler, PROMPT)
    pictures = torch.rand(2, 1, 3, 4, 4)
    found = {}
    for guidance in (0.0, 1.0, 3.0):
        point.seen = 0
        found[guidance] = gradient(SDS(prior, guidance=guidance), pictures)
        assert point.seen == (2 if guidance == 1 else 4)
    torch.testing.assert_close(found[3.0], found[0.0] + 3 * (found[1.0] - found[0.0]), rtol=1e-3, atol=1e-4)


def test_a_window_is_its_steps_one_by_one():
    point = Point("v_prediction")
    sds = SDS(Prior(point, point.scheduler, PROMPT), guidance=2.0, seed=5)
    pictures = torch.rand(3, 2, 3, 4, 4)
    together = gradient(sds, pictures, (4, 9, 5))
    for index, step in enumerate((4, 9, 5)):
        alone = gradient(sds, pictures[index : index + 1], (step,))
        torch.testing.assert_close(together[index : index + 1], alone)


def test_noise_belongs_to_the_step_and_the_seed():
    pictures = torch.rand(1, 1, 3, 4, 4).expand(2, 1, 3, 4, 4)

    class Blind(Point):
        def __call__(self, noisy, timesteps, shift):
            return torch.zeros_like(noisy)

    def found(seed, steps):
        return gradient(SDS(Prior(Blind("epsilon"), scheduler("epsilon"), PROMPT), seed=seed), pictures, steps)

    again = found(0, (1, 1))
    assert torch.equal(again[0], again[1])
    assert torch.equal(again, found(0, (1, 1)))
    assert not torch.equal(again[0], found(0, (1, 2))[1])
    assert not torch.equal(again[0], found(1, (1, 1))[0])


def test_the_weight_and_the_stretch_of_timesteps():
    point = Point("epsilon")
    prior = Prior(point, point.scheduler, PROMPT)
    pictures = torch.rand(2, 1, 3, 4, 4)
    plain, weighted = (
        gradient(SDS(prior, guidance=1.0, weight=weight, timesteps=ConstantRange(0.3, 0.3)), pictures)
        for weight in (uniform_weight, variance_weight)
    )
    _, noise = point.signal_and_noise(torch.tensor(300))
    torch.testing.assert_close(weighted, noise.square() * plain)
    steps = torch.tensor([0, 50, 99, 500])
    torch.testing.assert_close(
        AnnealedRange(100).bounds_at(steps)[1], torch.tensor([0.98, 0.7376, 0.5, 0.5]), atol=1e-3, rtol=0
    )
    assert SwitchedRange(50).bounds_at(steps)[1].tolist() == pytest.approx([0.98, 0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match=r"0\.9 to 0\.1 is not a range"):
        ConstantRange(0.9, 0.1)


def test_views_of_a_step_are_averaged_and_cameras_are_told():
    told = []

    def network(noisy, timesteps, shift, place):
        told.append(place)
        return torch.zeros_like(noisy)

    prior = Prior(network, scheduler("epsilon"), CameraConditioning(PROMPT, lambda cameras: cameras[:, None], "place"))
    sds = SDS(prior, guidance=2.0)
    loss = sds(torch.rand(2, 3, 3, 4, 4), torch.arange(2), torch.arange(6.0))
    assert loss.shape == (2,)
    assert told[0].flatten().tolist() == [*range(6), *range(6)]
    with pytest.raises(ValueError, match="pictures\\[:, None\\]"):
        sds(torch.rand(2, 3, 4, 4), torch.arange(2), None)


def test_a_prompt_for_every_direction():
    views = tuple({"words": torch.full((1, 2), float(index))} for index in range(3))
    directional = DirectionalPrompts(views, lambda cameras: cameras, {"words": torch.full((1, 2), 9.0)})
    assert directional.prompt_arguments(4, torch.tensor([2, 0, 1, 2]))["words"][:, 0].tolist() == [2, 0, 1, 2]
    assert directional.negative_arguments(4, None)["words"][:, 0].tolist() == [9] * 4


def test_latents_carry_the_gradient_and_the_scale():
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8,), latent_channels=2, norm_num_groups=4, scaling_factor=0.5, shift_factor=0.25
    ).requires_grad_(False)
    space = LatentSpace(vae, side=16)
    pictures = torch.rand(2, 3, 8, 8, requires_grad=True)
    latents = space.encode_pictures(pictures)
    signed = torch.nn.functional.interpolate(2 * pictures - 1, 16, mode="bilinear")
    torch.testing.assert_close(latents, (vae.encode(signed).latent_dist.mean - 0.25) * 0.5)
    latents.sum().backward()
    assert float(pictures.grad.abs().min()) > 0


def test_a_whole_pipeline_as_prior():
    """Stable Diffusion's parts, as users have them: the shipped text-to-image pipeline."""
    from forerun.worlds.scenes.load import load_scenes_pipeline

    pipe = load_scenes_pipeline()
    sds = {
        prompt: SDS(
            Prior(pipe.unet, pipe.scheduler, FixedPrompt.from_pipeline(pipe, prompt), LatentSpace(pipe.vae)),
            guidance=5.0,
            timesteps=ConstantRange(0.6, 0.8),
        )
        for prompt in ("a red sphere", "a blue sphere")
    }
    with torch.no_grad():
        picture = pipe("a red sphere", output_type="pt", num_inference_steps=8, guidance_scale=2.0).images[None]
    steps = range(6)
    pictures = picture.expand(6, *picture.shape[1:])
    sizes = {prompt: float(gradient(loss, pictures, steps).square().mean()) for prompt, loss in sds.items()}
    assert sizes["a red sphere"] < sizes["a blue sphere"]


def test_what_is_not_understood_is_refused():
    class Scheduler:
        def __init__(self):
            self.config = {"prediction_type": "v"}

    with pytest.raises(ValueError, match="prediction_type 'v'"):
        Prior(Point("epsilon"), Scheduler(), PROMPT)
    with pytest.raises(TypeError, match="has no encode_prompt"):
        FixedPrompt.from_pipeline(Scheduler(), "a cone")


@pytest.fixture(scope="module")
def small():
    """An untrained UNet of the kind that is distilled, and what it is told."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    ).requires_grad_(False)
    said = FixedPrompt({"encoder_hidden_states": torch.randn(1, 3, 8)}, {"encoder_hidden_states": torch.zeros(1, 3, 8)})
    return Prior(unet, DDPMScheduler(prediction_type="v_prediction"), said)


def lora(prior):
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    network = copy.deepcopy(prior.network)
    network.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    return network


@pytest.mark.parametrize("together", [True, False])
def test_a_fresh_lora_knows_what_the_prior_knows(small, together):
    distilled = DistilledModel(small, lora(small), together=together)
    vsd = VSD(small, distilled, guidance=1.0)
    weights = {
        name: torch.stack([each.detach()] * 2).requires_grad_() for name, each in distilled.trained_weights().items()
    }
    pictures = torch.rand(2, 1, 3, 8, 8, requires_grad=True)
    pull, fit = vsd(pictures, torch.arange(2), None, weights)
    (of_pictures,) = torch.autograd.grad(pull.sum(), pictures, retain_graph=True)
    assert float(of_pictures.abs().max()) < 1e-5
    assert not torch.autograd.grad(fit.sum(), pictures, retain_graph=True, allow_unused=True)[0]
    of_weights = torch.autograd.grad(fit.sum(), list(weights.values()))
    assert max(float(each.abs().max()) for each in of_weights) > 0


def test_weights_of_a_window_together_and_one_by_one(small):
    network = lora(small)
    names = DistilledModel(small, network).trained_weights()
    torch.manual_seed(2)
    weights = {name: 0.3 * torch.randn(3, *each.shape) for name, each in names.items()}
    noisy, timesteps = torch.randn(6, 3, 8, 8), torch.randint(1000, (6,))
    arguments = small.network_arguments(6, None, guided=False)
    both = [
        DistilledModel(small, network, together=way).predict_noise(weights, noisy, timesteps, arguments)
        for way in (True, False)
    ]
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)
    assert float((both[0] - small.predict_noise(noisy, timesteps, arguments)).abs().max()) > 1e-3


def test_what_learns_nothing_is_refused(small):
    with pytest.raises(ValueError, match="add_adapter"):
        DistilledModel(small, small.network)


def test_vsd_ahead_is_vsd_in_order(small):
    """The distilled weights and their optimiser are in the state: a strict tolerance gives the run in order."""
    ends = {}
    for method, window in ((Sequential(), Sliding(1)), (Picard(), Sliding(4))):
        distilled = DistilledModel(small, lora(small))
        torch.manual_seed(3)
        picture = torch.rand(1, 3, 8, 8, requires_grad=True)
        weights = distilled.trained_weights()
        vsd = VSD(small, distilled, guidance=3.0)

        def losses(params, steps, vsd=vsd):
            return vsd(params[0], steps, None, params[1])

        loop = Loop(
            [picture, weights],
            [torch.optim.Adam([picture], 3e-2), torch.optim.AdamW(weights.values(), 1e-2)],
            lambda params, step, losses=losses: tuple(
                each[0]
                for each in losses([params[0][None], {k: v[None] for k, v in params[1].items()}], torch.tensor([step]))
            ),
            gradients=Batched(losses),
            method=method,
            window=window,
            tolerance=StepLength(1e-4),
        )
        solution = loop.run(10).solution()
        ends[solution.rounds < 10] = [picture.detach().clone(), *(each.detach().clone() for each in weights.values())]
    assert set(ends) == {True, False}
    moved = ends[False][0] - torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    assert float(moved.abs().mean()) > 0.05
    for found, expected in zip(ends[True], ends[False], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
