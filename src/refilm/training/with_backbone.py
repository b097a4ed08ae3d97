"""What trainings of models on a backbone have in common: what they start from, and the backbone's learning rate."""

from __future__ import annotations

from typing import Protocol

from safetensors.torch import load_file

from refilm.errors import RefilmError
from refilm.training.problem import Problem
from refilm.weights import load_weights


class _Config(Protocol):
    """What the settings of such a training have."""

    @property
    def model(self) -> str: ...

    @property
    def start(self) -> str: ...

    @property
    def backbone(self) -> str: ...

    @property
    def backbone_rate(self) -> float: ...


class WithBackbone(Problem):
    """The common base of problems whose models stand on a backbone."""

    def begin(self) -> None:
        """Take the backbone's weights, and what fits of the weight file `start`.

        That is all tensors with the name and shape of one of the model's, so a model may start from another one with
        fewer parts or with other classes. Raises RefilmError if none fits.
        """
        config: _Config = self.config  # type: ignore[assignment]
        if config.backbone:
            self.model.start_from(load_file(config.backbone))
        if config.start:
            own = self.model.state_dict()
            state = load_weights(config.start).state
            fits = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
            if not fits:
                raise RefilmError(f"{config.start}: none of its weights fits {config.model}")
            self.model.load_state_dict(fits, strict=False)
            if new := [name for name in own if name not in fits]:
                print(f"{len(new)} of {len(own)} tensors are not in {config.start}, such as {new[0]}", flush=True)

    def relative_rates(self) -> dict[str, float]:
        config: _Config = self.config  # type: ignore[assignment]
        backbone = (name for name, _ in self.named_parameters() if ".backbone." in name)
        return super().relative_rates() | dict.fromkeys(backbone, config.backbone_rate)
