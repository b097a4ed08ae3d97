import pytest
import torch

from refilm.training.losses import Adversary, charbonnier, dissimilarity, log_error


def test_the_log_error_counts_shares_whatever_the_crop_and_frame():
    truth = torch.zeros(2, 3, 2, 4, 4)
    near, far = torch.full_like(truth[0], 0.01), torch.full_like(truth[0], 0.1)
    assert float(log_error(torch.stack([near, far]), truth)) == pytest.approx(-3, abs=0.01)  # 40 and 20 dB
    halved = log_error(torch.stack([near, far / 2]), truth) - log_error(torch.stack([near, far]), truth)
    assert float(halved) == pytest.approx(-0.301, abs=0.001)  # half of 6 dB
    assert log_error(truth, truth).isfinite()


def test_charbonnier_is_l1_far_above_epsilon_and_l2_far_below():
    far, near = torch.full((4,), 0.5), torch.full((4,), 1e-4)
    assert float(charbonnier(far, torch.zeros(4), 1e-3)) == pytest.approx(0.5, rel=1e-4)
    assert float(charbonnier(near, torch.zeros(4), 1e-2)) - 1e-2 == pytest.approx(1e-8 / 2e-2, rel=0.1)


def test_dissimilarity_of_a_clip_is_that_of_its_frames():
    torch.manual_seed(0)
    output, target = torch.rand(2, 3, 4, 24, 24), torch.rand(2, 3, 4, 24, 24)
    frames = [dissimilarity(output[:, :, t], target[:, :, t]) for t in range(4)]
    torch.testing.assert_close(dissimilarity(output, target), torch.stack(frames).mean())
    assert float(dissimilarity(target, target)) == pytest.approx(0, abs=1e-5)


def test_generator_and_judges_move_only_their_own_parameters():
    torch.manual_seed(0)
    adversary, output = Adversary(width=4), torch.rand(1, 3, 3, 32, 32, requires_grad=True)
    generator, judges = adversary.losses(output, torch.rand(1, 3, 3, 32, 32))
    (own,) = torch.autograd.grad(generator, output, retain_graph=True)
    assert own.abs().max() > 0
    with pytest.raises(RuntimeError, match=r"not have been used|does not require grad"):
        torch.autograd.grad(judges, output)
    judges.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adversary.parameters())
    with pytest.raises(RuntimeError, match=r"not have been used|does not require grad"):
        torch.autograd.grad(adversary.losses(output, output)[0], list(adversary.parameters()))


def test_judges_learn_to_tell():
    torch.manual_seed(0)
    adversary = Adversary(width=8)
    optimizer = torch.optim.Adam(adversary.parameters(), lr=2e-3)
    for _ in range(15):
        optimizer.zero_grad()
        # what is real changes from pixel to pixel, what is made does not
        _, judges = adversary.losses(torch.full((2, 3, 3, 32, 32), 0.5), torch.rand(2, 3, 3, 32, 32))
        judges.backward()
        optimizer.step()
    assert judges < 2  # of 4, which is what judges lose who cannot tell
