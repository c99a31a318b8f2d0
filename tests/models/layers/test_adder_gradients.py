"""The learning rule of adder filters: one size per step, however many batches and ranks a step has."""

import pytest
import torch
from addax.models.layers.adder import AdderConv2d
from addax.models.layers.adder_gradients import scale_adder_gradients, scale_at_each_step
from ranks import images, loss_of, network, train, train_in_ranks
from torch import nn


def rms(values):
    return values.double().square().mean().sqrt().item()


@pytest.mark.parametrize("eta", [0.2, 0.05, 3.0])
@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e20])
def test_every_adder_layer_has_the_same_rms_and_others_stay(eta, factor):
    """Adaptive local learning rates: deep layers, whose gradients are small, learn as fast as the first."""
    module = network()
    (factor * loss_of(module(images()))).backward()
    before = [p.grad.clone() for p in module.parameters()]
    scale_adder_gradients(module, eta)
    adders = {id(m.weight) for m in module if isinstance(m, AdderConv2d)}
    for parameter, raw in zip(module.parameters(), before, strict=True):
        if id(parameter) in adders:
            assert rms(parameter.grad) == pytest.approx(eta, rel=1e-12)
            torch.testing.assert_close(parameter.grad * raw.norm(), raw * parameter.grad.norm())
        else:
            assert torch.equal(parameter.grad, raw)


def test_accumulated_batches_make_the_step_of_the_whole_batch():
    """Scaled in each backward pass, four batches would add up to an RMS of up to 0.8."""
    whole, parts = train(network(), images()), train(network(), images(), parts=4)
    for one, other in zip(whole[0], parts[0], strict=True):
        assert rms(one) == pytest.approx(0.2, rel=1e-12)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    for one, other in zip(whole[1], parts[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "parts"), [(1, 2), (4, 1), (4, 2)])
def test_ranks_make_the_step_of_one_process(tmp_path, world, parts):
    """Scaled before their mean is taken, the gradients of ranks that disagree come out too small: 0.1 for 0.2."""
    alone, together = train(network(), images()), train_in_ranks(world, parts, tmp_path / "found.pt")
    for one, other in zip(alone[0], together[0], strict=True):
        assert rms(other) == pytest.approx(0.2, rel=1e-12)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    for one, other in zip(alone[1], together[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_layer_in_two_places_is_scaled_once():
    shared = AdderConv2d(2, 2, 1)
    module = nn.Sequential(shared, nn.ReLU(), shared)
    module(torch.randn(1, 2, 3, 3)).sum().backward()
    scale_adder_gradients(module)
    assert rms(shared.weight.grad) == pytest.approx(0.2, rel=1e-6)


def test_narrow_gradients_are_measured_in_float32():
    """The squares of 100,000 float16 numbers around 100 leave the range of float16."""
    layer = AdderConv2d(100, 100, 3).half()
    layer.weight.grad = torch.full_like(layer.weight, 100.0)
    scale_adder_gradients(layer)
    assert layer.weight.grad.unique().tolist() == [pytest.approx(0.2, rel=1e-3)]


def test_layers_without_gradient_and_gradients_of_nothing():
    """A frozen layer has none; a dead one has zeros, which must not become 0 / 0; nan is for the loop to find."""
    frozen, dead, lost = (AdderConv2d(2, 2, 1) for _ in range(3))
    dead.weight.grad, lost.weight.grad = torch.zeros(2, 2, 1, 1), torch.full((2, 2, 1, 1), torch.inf)
    scale_adder_gradients(nn.Sequential(frozen, dead, lost))
    assert frozen.weight.grad is None and not dead.weight.grad.any() and not lost.weight.grad.isfinite().any()


def test_the_rule_ends_when_its_hook_is_removed():
    module = network()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    hook = scale_at_each_step(optimiser, module)
    hook.remove()
    loss_of(module(images())).backward()
    raw = module[2].weight.grad.clone()
    optimiser.step()
    assert torch.equal(module[2].weight.grad, raw)


def test_steps_of_schedulers_and_of_gradient_scalers():
    """Both call step in their own way."""
    module = network().float()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    schedule, scaler = torch.optim.lr_scheduler.ConstantLR(optimiser), torch.amp.GradScaler("cpu", init_scale=8.0)
    scale_at_each_step(optimiser, module)
    scaler.scale(loss_of(module(images().float()))).backward()
    scaler.step(optimiser)
    schedule.step()
    assert rms(module[2].weight.grad) == pytest.approx(0.2, rel=1e-6)
    optimiser.step(None)


def test_wrong_uses_are_refused():
    module = network()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    scale_at_each_step(optimiser, module)
    with pytest.raises(ValueError, match="a step with a closure"):
        optimiser.step(lambda: 0.0)
    with pytest.raises(ValueError, match="eta must be a positive number, not 0"):
        scale_adder_gradients(module, 0)
