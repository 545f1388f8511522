"""Pictures through a function in batches."""

import numpy as np
import pytest

from xgan_jax.data.batches import in_batches


def test_batches_of_one_size_and_how_far_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("xgan_jax.progress.EVERY", -1.0)
    pictures = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    shapes = set()

    def function(batch: np.ndarray) -> dict[str, np.ndarray]:
        shapes.add(batch.shape)
        return {"mean": batch.mean((1, 2, 3)), "twice": 2.0 * batch}

    result = in_batches(function, pictures, 4)
    assert shapes == {(4, 4, 4, 3)}
    np.testing.assert_array_equal(result["mean"], pictures.mean((1, 2, 3)))
    np.testing.assert_array_equal(result["twice"], 2.0 * pictures)
    assert "going through pictures: 3 of 3 batches, " in capsys.readouterr().out
