"""The samplers go where the reference's go from the same noise."""

import itertools
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch

from sam_tvm.runtime.reconstruction.sampling import (
    denormalise,
    initial_noise,
    sample,
    times,
)
from sam_tvm.runtime.reconstruction.settings import SamplerSettings

SHAPES = {"shape": (1, 64, 8), "translation": (1, 1, 3), "scale": (1, 1, 3)}
# As the checkpoint's generators are sampled.
STRUCTURE = SamplerSettings(rescale_t=3.0, guidance=7.0, takes_step=True)
FEATURES = SamplerSettings(rescale_t=1.0, guidance=1.0)


class Network(torch.nn.Module):
    """Mixes latents, time, step and condition, and records what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, float | None, bool]] = []

    def forward(self, latents, t, condition, d=None, cfg=False):
        self.calls.append((float(t), None if d is None else float(d), not cfg))
        t = t.reshape(-1)[0] / 1000
        push = 0.0 if cfg else condition.mean()
        if d is not None:
            push = push + torch.sin(d[0] / 1000)

        def velocity(x):
            return torch.tanh(x * (1 + t)) * 0.5 - torch.cos(3 * t) * x + push

        if isinstance(latents, dict):
            return {name: velocity(x) for name, x in latents.items()}
        return velocity(latents)

    def velocity(self, condition: torch.Tensor):
        """The same as a callback of the runtime."""

        def call(latents, t, d, conditional):
            made = self(
                {name: torch.from_numpy(x) for name, x in latents.items()},
                torch.from_numpy(t),
                condition,
                None if d is None else torch.from_numpy(d),
                not conditional,
            )
            return {name: x.numpy() for name, x in made.items()}

        return call


@pytest.fixture
def condition():
    return torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(0))


def generator_of(reference, network, settings: SamplerSettings, steps: int, distilled: bool):
    """Build the reference's generator as its pipeline sets it up."""
    external = reference.guidance.ClassifierFreeGuidanceWithExternalUnconditionalProbability
    guided = external if settings.takes_step else reference.guidance.ClassifierFreeGuidance
    reverse = guided(
        network,
        strength=0 if distilled else settings.guidance,
        interval=list(settings.interval),
        unconditional_handling="add_flag",
    )
    base = reference.shortcut.ShortCut if settings.takes_step else None
    base = base or reference.flow_matching.FlowMatching
    generator = base(
        reverse_fn=reverse,
        inference_steps=steps,
        rescale_t=settings.rescale_t,
        time_scale=settings.time_scale,
    )
    generator.no_shortcut = not distilled
    return generator.eval()


def tensors(noise):
    return OrderedDict((name, torch.from_numpy(x)) for name, x in noise.items())


@pytest.mark.parametrize("distilled", [False, True], ids=["guided", "distilled"])
@pytest.mark.parametrize("steps", [1, 4, 10, 25])
def test_the_structure_sampler_equals_the_reference(reference, rng, condition, steps, distilled):
    noise = initial_noise(SHAPES, rng)
    theirs, ours = Network(), Network()
    generator = generator_of(reference, theirs, STRUCTURE, steps, distilled)
    generator._generate_noise = lambda shape, device: tensors(noise)
    expected = generator(SHAPES, "cpu", condition)
    actual = sample(ours.velocity(condition), noise, STRUCTURE, steps=steps, distilled=distilled)
    assert ours.calls == theirs.calls
    for name in SHAPES:
        np.testing.assert_array_equal(actual[name], expected[name].numpy(), err_msg=name)


@pytest.mark.parametrize("distilled", [False, True], ids=["guided", "distilled"])
@pytest.mark.parametrize("steps", [1, 12, 25, 40])
def test_the_feature_sampler_equals_the_reference(reference, rng, condition, steps, distilled):
    noise = initial_noise({"features": (1, 300, 8)}, rng)
    theirs, ours = Network(), Network()
    generator = generator_of(reference, theirs, FEATURES, steps, distilled)
    generator._generate_noise = lambda shape, device: torch.from_numpy(noise["features"])
    expected = generator((1, 300, 8), "cpu", condition)
    actual = sample(ours.velocity(condition), noise, FEATURES, steps=steps, distilled=distilled)
    # Their times are rounded in a way that depends on the machine's vectors.
    for mine, other in zip(ours.calls, theirs.calls, strict=True):
        assert mine[0] == pytest.approx(other[0], rel=3e-7) and mine[1:] == other[1:]
    np.testing.assert_allclose(actual["features"], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rescale_t", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("steps", [1, 2, 12, 25, 40])
def test_times_equal_the_reference(reference, steps, rescale_t):
    structure = replace(STRUCTURE, rescale_t=rescale_t)
    generator = generator_of(reference, Network(), structure, steps, False)
    np.testing.assert_array_equal(times(structure, steps), generator._prepare_t_and_d()[0])
    features = replace(FEATURES, rescale_t=rescale_t)
    generator = generator_of(reference, Network(), features, steps, False)
    actual = times(features, steps)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, generator._prepare_t().numpy(), rtol=3e-7)


def test_guidance_costs_a_second_call_within_its_interval_alone(rng, condition):
    network = Network()
    sample(network.velocity(condition), initial_noise(SHAPES, rng), FEATURES, steps=10)
    calls = [(t, conditional) for t, _, conditional in network.calls]
    guided = [t for t, conditional in calls if not conditional]
    assert guided == [0, 100, 200, pytest.approx(300), 400, 500]
    assert [t for t, conditional in calls if conditional][-1] == pytest.approx(900)


def test_the_distilled_mode_tells_the_network_the_step(rng, condition):
    network = Network()
    sample(
        network.velocity(condition), initial_noise(SHAPES, rng), STRUCTURE, steps=4, distilled=True
    )
    assert [call[1:] for call in network.calls] == [(250.0, True)] * 4


def test_25_steps_by_default(rng, condition):
    network = Network()
    noise = initial_noise(SHAPES, rng)
    sample(network.velocity(condition), noise, replace(FEATURES, guidance=0.0))
    assert len(network.calls) == 25


def test_a_seed_gives_the_same_noise_whatever_the_order_of_the_latents():
    draws = [
        initial_noise(dict(names), np.random.default_rng(5))
        for names in itertools.permutations(SHAPES.items())
    ]
    other = initial_noise(SHAPES, np.random.default_rng(6))
    for name, shape in SHAPES.items():
        for draw in draws:
            assert draw[name].shape == shape and draw[name].dtype == np.float32
            np.testing.assert_array_equal(draw[name], draws[0][name])
        assert (draws[0][name] != other[name]).any()


def test_the_noise_is_standard_normal_and_stays_as_it_is(rng, condition):
    noise = initial_noise({"features": (1, 20000, 8)}, rng)
    kept = noise["features"].copy()
    assert abs(kept.mean()) < 0.01 and abs(kept.std() - 1) < 0.01
    sample(Network().velocity(condition), noise, FEATURES, steps=2)
    np.testing.assert_array_equal(noise["features"], kept)


def test_a_bar_counts_the_steps_where_one_is_wanted(rng, condition, capsys):
    noise = initial_noise(SHAPES, rng)
    sample(Network().velocity(condition), noise, FEATURES, steps=3)
    assert capsys.readouterr().err == ""
    sample(Network().velocity(condition), noise, FEATURES, steps=3, label="structure")
    written = capsys.readouterr()
    assert "structure" in written.err and "3/3" in written.err and written.out == ""


def test_no_steps_are_an_error(rng, condition):
    with pytest.raises(ValueError, match="at least one step"):
        sample(Network().velocity(condition), initial_noise(SHAPES, rng), FEATURES, steps=0)


def test_features_are_destandardised_as_the_pipeline_does_it(rng):
    features = rng.standard_normal((50, 8), np.float32)
    mean, std = rng.normal(size=8).tolist(), rng.uniform(1, 3, 8).tolist()
    expected = torch.from_numpy(features) * torch.tensor(std) + torch.tensor(mean)
    actual = denormalise(features, mean, std)
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, expected.numpy())
