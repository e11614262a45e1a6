"""Muon, and which parameters it is given."""

import torch
from torch import nn

from sam_tvm.training.optimiser import Muon, make_optimisers, orthogonalised


def test_orthogonalised_matrices_have_singular_values_near_one():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 16, 40), (2, 40, 16), (1, 24, 24)):
        matrices = torch.randn(shape, generator=generator) * 7
        values = torch.linalg.svdvals(orthogonalised(matrices))
        assert values.max() < 1.3
        assert values.median() > 0.6


def test_orthogonalising_keeps_the_singular_vectors():
    matrix = torch.randn(1, 12, 20, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    inside = left.T @ orthogonalised(matrix)[0] @ right.T
    off_diagonal = inside - torch.diag(inside.diagonal())
    assert off_diagonal.abs().max() < 1e-4
    assert inside.diagonal().min() > 0


def test_muon_finds_a_linear_map():
    torch.manual_seed(0)
    wanted, layer = torch.randn(8, 8), nn.Linear(8, 8, bias=False)
    optimiser = Muon(layer.parameters(), lr=0.2)
    for step in range(300):
        optimiser.param_groups[0]["lr"] = 0.2 * (1 - step / 300)
        inputs = torch.randn(32, 8)
        loss = (layer(inputs) - inputs @ wanted.T).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (layer.weight - wanted).abs().max() < 0.05


def test_parameter_without_a_gradient_stays_as_it_is():
    layer = nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    Muon([layer.weight], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(layer.weight, before)


def test_every_trained_parameter_has_one_optimiser(small_model):
    named = list(small_model.named_parameters())
    muon, adam = make_optimisers(named, lr=1e-3, weight_decay=0.1)
    own = [[p for group in o.param_groups for p in group["params"]] for o in (muon, adam)]
    ids = [id(p) for params in own for p in params]
    assert sorted(ids) == sorted(id(p) for _, p in named if p.requires_grad)
    names = {id(p): name for name, p in named}
    by_muon = {names[id(p)] for p in own[0]}
    assert "backbone.vision_backbone.trunk.blocks.0.mlp.fc1.weight" in by_muon
    assert all(p.ndim >= 2 for p in own[0])
    assert not any("embedding" in name or "pos_embed" in name for name in by_muon)
