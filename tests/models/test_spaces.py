import pytest
import torch

from refilm.errors import RefilmError, UsageError, WeightsError
from refilm.models import create_model
from refilm.models.spaces import as_samples, evenly, find_space
from refilm.models.table import MODELS
from refilm.weights import SHIPPED, Weights, save_weights


@pytest.fixture
def space(tmp_path):
    """A space that makes a flat grey of everything, and knows pictures that are not far from it."""
    model = create_model("geodesic", weights=None, shape=(3, 16, 24), code=2, width=4, halvings=2)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    config = {"shape": [3, 16, 24], "code": 2, "width": 4, "halvings": 2}
    return save_weights(Weights("geodesic", config, model.state_dict(), metrics={"rmse": [0.05, 0.1]}), tmp_path)


def test_moments_between_which_equal_lengths_are_covered():
    times = torch.linspace(0, 1, 1001)
    found = evenly(2 * times, times, 5)  # the length up to t is t^2
    torch.testing.assert_close(found, torch.tensor([0, 0.25, 0.5, 0.75, 1]).sqrt(), atol=1e-3, rtol=0)


def test_a_way_that_rests_is_divided_by_time():
    torch.testing.assert_close(evenly(torch.zeros(9), torch.linspace(0, 2, 9), 3), torch.tensor([0.0, 1, 2]))


def test_pictures_become_samples_of_the_space():
    pictures = [torch.rand(3, 32, 48), torch.rand(3, 32, 48)]
    assert as_samples(pictures, (3, 16, 24)).shape == (2, 3, 16, 24)
    grey = as_samples(pictures, (1, 16, 24))
    torch.testing.assert_close(grey[:, 0], as_samples(pictures, (3, 16, 24)).mean(dim=1))


def test_a_space_is_found_for_pictures_that_it_knows(space):
    pictures = [torch.full((3, 32, 48), 0.5), torch.full((3, 32, 48), 0.55)]
    found = find_space(pictures, space)
    assert (found.name, found.weights) == ("geodesic", space.name)
    assert found.off == pytest.approx(0.5, abs=0.02)


def test_pictures_that_a_space_does_not_know_are_refused_with_the_ways_out(space):
    pictures = [torch.full((3, 32, 48), 0.5), torch.zeros(3, 32, 48)]
    with pytest.raises(
        RefilmError, match=r"does not know these pictures.*5\.0 times.*--learn-from.*--by motion"
    ) as told:
        find_space(pictures, space)
    assert "\n" not in str(told.value)


def test_between_unrelated_pictures_no_space_that_ships_knows_a_way():
    noise = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    with pytest.raises(RefilmError, match=r"no space that ships .* knows these pictures; .*--by motion"):
        find_space(noise, None)


def test_weights_of_something_else_are_refused(tmp_path):
    pictures = [torch.zeros(3, 16, 16)] * 2
    with pytest.raises(UsageError, match="holds vdb-ls3d-small, which is no space of pictures"):
        find_space(pictures, SHIPPED / MODELS["vdb-ls3d-small"].weights)
    with pytest.raises(WeightsError, match="no such weight file"):
        find_space(pictures, tmp_path / "missing.safetensors")
