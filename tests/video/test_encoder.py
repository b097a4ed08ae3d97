from __future__ import annotations

import pytest

from refilm.video.encoder import repeatable


@pytest.mark.parametrize(("given", "kept"), [({}, ""), ({"x264-params": "cll=1,2"}, "cll=1,2")])
def test_what_makes_it_repeatable_leaves_other_options_alone(given, kept):
    assert repeatable("libx264", given).get("x264-params", "").startswith(kept)
    assert repeatable("libx265", given) == given
