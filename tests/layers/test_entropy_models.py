import math

import pytest
import torch

from refilm.layers.entropy_models import (
    FACTORIZED_REACH,
    GAUSSIAN_REACH,
    LEAST_SCALE,
    MOST_SCALE,
    SCALES,
    TOTAL,
    Bounded,
    FactorizedModel,
    Gains,
    bits_of,
    counts_of,
    fitted_counts,
    gaussian_counts,
    gaussian_probability,
    noisy,
    rounded,
    scale_of,
)


@pytest.fixture
def model():
    torch.manual_seed(1)
    model = FactorizedModel(3, start=4.0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def cumulative(model, channel, x):
    """The cumulative distribution of one channel at one place, as appendix 6.1 writes it."""
    value = torch.tensor([[x]], dtype=torch.float64)
    for step, (matrix, bias) in enumerate(zip(model.matrices, model.biases, strict=True)):
        value = torch.log1p(matrix[channel].exp()) @ value + bias[channel]
        if step < len(model.factors):
            value = value + torch.tanh(model.factors[step][channel]) * torch.tanh(value)
    return float(torch.sigmoid(value))


@torch.no_grad()
def test_the_factorised_model_is_what_the_paper_defines(model):
    x = 6 * torch.randn(2, 3, 2, 2, dtype=torch.float64)
    found = model.probability(x)
    for place in torch.cartesian_prod(*(torch.arange(size) for size in x.shape)).tolist():
        n, c, h, w = place
        value = float(x[n, c, h, w])
        expected = cumulative(model, c, value + 0.5) - cumulative(model, c, value - 0.5)
        assert float(found[n, c, h, w]) == pytest.approx(expected, abs=1e-12)


@torch.no_grad()
def test_all_values_together_have_the_probability_one_for_any_width_of_a_step(model):
    x = torch.arange(-4000.0, 4001.0, dtype=torch.float64).expand(1, 3, 1, -1)
    for step in (1.0, 0.1, 2.5):
        total = model.probability(x, torch.full((1, 3, 1, 1), step, dtype=torch.float64)).sum(-1)
        torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)


@torch.no_grad()
def test_tables_of_the_factorised_model_cost_what_it_says(model):
    x = torch.randint(-5, 6, (1, 3, 8, 8)).double()
    step = torch.tensor([1.0, 0.5, 2.0])
    counts = model.counts(step)
    assert counts.shape == (3, 2 * FACTORIZED_REACH + 1)
    estimated = float(bits_of(model.probability(x, step.double().view(1, 3, 1, 1))))
    assert cost_of(counts, x) == pytest.approx(estimated, rel=0.01)


def cost_of(counts, x):
    symbols = x.long() + counts.shape[1] // 2
    taken = torch.stack([counts[c][symbols[:, c]] for c in range(len(counts))])
    return float(-(taken.double() / TOTAL).log2().sum())


def test_every_table_adds_up_and_can_say_that_a_value_lies_beyond():
    for row in (*gaussian_counts(), *FactorizedModel(4).counts()):
        assert int(row.sum()) == TOTAL
        there = row.nonzero().flatten()
        assert there.tolist() == list(range(int(there[0]), int(there[-1]) + 1)), "no gaps"
        assert there[0] < len(row) // 2 < there[-1]


def test_tables_of_gaussians_are_symmetrical_up_to_rounding_and_no_more_than_needed():
    tables = gaussian_counts()
    assert tables.shape == (SCALES, 2 * GAUSSIAN_REACH + 1)
    for table in tables[:-1]:
        differ = ((table - table.flip(0)).abs() > 1).sum()
        assert differ <= 2, "one symbol takes what rounding leaves"
    zeros = -math.log2(int(tables[0][GAUSSIAN_REACH]) / TOTAL)
    assert zeros < 1e-4, "latents that are surely 0 cost nothing"


def test_a_table_of_what_is_surely_far_off_says_so():
    below = torch.zeros(12, dtype=torch.float64)  # all of the probability lies beyond the last symbol
    counts = counts_of(below)
    assert int(counts.sum()) == TOTAL
    assert counts[-1] > 0.99 * TOTAL


def test_scales_are_evenly_spaced_in_their_logarithm():
    scales = scale_of(torch.arange(SCALES, dtype=torch.float64))
    assert (float(scales[0]), float(scales[-1])) == pytest.approx((LEAST_SCALE, MOST_SCALE))
    ratios = scales[1:] / scales[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))


def test_the_gaussian_is_integrated_over_a_step():
    y, index = torch.tensor([0.0, 1.0, -3.0], dtype=torch.float64), torch.tensor([20.0, 30.0, 40.0]).double()
    normal = torch.distributions.Normal(0.0, scale_of(index))
    torch.testing.assert_close(gaussian_probability(y, index), normal.cdf(y + 0.5) - normal.cdf(y - 0.5))


def test_a_bound_lets_gradients_lead_back_inside_alone():
    for x, toward, expected in ((-1.0, 1.0, 1.0), (-1.0, -1.0, 0.0), (0.5, 1.0, 1.0), (2.0, -1.0, -1.0), (2.0, 1.0, 0)):
        value = torch.tensor(x, requires_grad=True)
        (-toward * Bounded.apply(value, 0.0, 1.0)).backward()  # descent moves it `toward`
        assert -float(value.grad) == expected


def test_rounding_has_the_gradient_of_the_identity_and_noise_is_of_one_step():
    x = torch.linspace(-3, 3, 50).requires_grad_()
    rounded(x).sum().backward()
    assert (rounded(x) == x.round()).all()
    assert (x.grad == 1).all()
    noise = noisy(torch.zeros(10_000))
    assert noise.abs().max() <= 0.5
    assert float(noise.var()) == pytest.approx(1 / 12, rel=0.05)


def test_gains_begin_as_the_trade_offs_have_it():
    """A quantiser's error is proportional to the square of its step, and so should be 1 / lambda."""
    gains, quality = Gains((100.0, 400.0), 2, step=0.2), torch.tensor([0, 1])
    before, after = gains.before(quality), gains.after(quality)
    assert before.shape == (2, 2, 1, 1)
    torch.testing.assert_close(before[1], 2 * before[0])
    torch.testing.assert_close(before * after, torch.ones_like(before))
    assert float((after[0] * after[1]).sqrt()[0].detach()) == pytest.approx(0.2)


def test_tables_become_what_was_seen_the_more_was_seen_and_keep_their_ends():
    counts = gaussian_counts()[30:32]
    seen = torch.zeros(counts.shape)
    assert torch.equal(fitted_counts(counts, seen).sum(1), counts.sum(1))
    assert (fitted_counts(counts, seen) - counts).abs().max() <= 1, "nothing was seen"
    middle = counts.shape[1] // 2
    seen[0, middle + 1] = 3000
    seen[0, 0] = 1000  # beyond the table
    fitted = fitted_counts(counts, seen)
    there = counts[0].nonzero().flatten()
    assert torch.equal(fitted[0].nonzero().flatten(), there)
    assert float(fitted[0, middle + 1]) / TOTAL == pytest.approx(3 / 4, rel=0.03)
    assert float(fitted[0, there[0]]) / TOTAL == pytest.approx(1 / 4, rel=0.03)
    assert int(fitted[0].sum()) == TOTAL
