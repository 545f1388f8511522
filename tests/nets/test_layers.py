"""The fast forms of convolutions equal lax's, and the layers around them do what they say."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from xgan_jax.nets import layers

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv_reference(x, kernel):
    """PyTorch's Conv2d(k, stride=2, padding=1), cut to half the size."""
    y = lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)
    return y[:, : x.shape[1] // 2, : x.shape[2] // 2]


def transposed_reference(x, kernel):
    """lax.conv_transpose; for 3x3 the output_padding of PyTorch's ConvTranspose2d(3, 2, 1, 1)."""
    if kernel.shape[0] == 4:
        return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=DIMENSIONS)
    return lax.conv_transpose(x, kernel, (2, 2), ((1, 2), (1, 2)), dimension_numbers=DIMENSIONS)


def data(k: int, channels: tuple[int, int], side: int = 8):
    keys = jax.random.split(jax.random.key(k), 2)
    x = jax.random.normal(keys[0], (3, side, side, channels[0]))
    return x, 0.1 * jax.random.normal(keys[1], (k, k, *channels))


def assert_close(a, b):
    scale = float(jnp.abs(b).max())
    np.testing.assert_allclose(a / scale, b / scale, atol=1e-5)


def turned(kernel):
    """From the kernel of `lax.conv_transpose` to that of the convolution it transposes, and back."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


FORMS = {
    "strided": (layers.strided_conv, conv_reference),
    "transposed": (lambda x, k: layers.transposed_conv(x, turned(k)), transposed_reference),
    "columns": (layers._conv_by_columns, conv_reference),
    "input by lax": (lambda x, k: layers._input_by_lax(x, turned(k)), transposed_reference),
    "input by phases": (lambda x, k: layers._input_by_phases(x, turned(k)), transposed_reference),
    "input by products": (lambda x, k: layers._input_by_products(x, turned(k)), transposed_reference),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("k", [3, 4])
@pytest.mark.parametrize("channels", [(3, 16), (16, 3), (8, 8)])
def test_forms_equal_lax(name: str, k: int, channels: tuple[int, int]) -> None:
    form, reference = FORMS[name]
    x, kernel = data(k, channels)
    y, pullback = jax.vjp(form, x, kernel)
    y0, pullback0 = jax.vjp(reference, x, kernel)
    assert y.shape == y0.shape
    assert_close(y, y0)
    g = jax.random.normal(jax.random.key(9), y.shape)
    for ours, lax_s in zip(pullback(g), pullback0(g), strict=True):
        assert_close(ours, lax_s)


@pytest.mark.parametrize("name", ["strided", "transposed"])
@pytest.mark.parametrize("k", [3, 4])
def test_second_order_equals_lax(name: str, k: int) -> None:
    """The gradient of a gradient penalty, as R1 needs it."""
    form, reference = FORMS[name]
    x, kernel = data(k, (4, 6))

    def penalty(operation):
        def of(x, kernel):
            gradient = jax.grad(lambda x: jnp.tanh(operation(x, kernel)).sum())(x)
            return jnp.square(gradient).sum()

        return jax.grad(of, (0, 1))(x, kernel)

    for ours, lax_s in zip(penalty(form), penalty(reference), strict=True):
        assert_close(ours, lax_s)


def test_bfloat16_stays_bfloat16() -> None:
    x, kernel = data(4, (8, 8))
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    for name in ("strided", "transposed"):
        y = FORMS[name][0](x, kernel)
        assert y.dtype == jnp.bfloat16
        exact = FORMS[name][1](x.astype(jnp.float32), kernel.astype(jnp.float32))
        np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.05 * float(jnp.abs(exact).max()))


def test_instance_norm_is_per_picture_and_in_float32() -> None:
    x = 100 + jax.random.normal(jax.random.key(0), (4, 6, 6, 5)) * jnp.arange(1, 6)
    norm = layers.Norm("instance", jnp.bfloat16)
    variables = norm.init(jax.random.key(1), x, True)
    y = norm.apply(variables, x, True)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32).mean((1, 2)), 0, atol=0.01)
    np.testing.assert_allclose(np.asarray(y, np.float32).std((1, 2)), 1, atol=0.02)
    alone = norm.apply(variables, x[:1], True)
    np.testing.assert_array_equal(np.asarray(alone, np.float32), np.asarray(y[:1], np.float32))


def test_batch_norm_keeps_averages_for_evaluation() -> None:
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (64, 4, 4, 2))
    norm = layers.Norm("batch")
    variables = norm.init(jax.random.key(1), x, True)
    for _ in range(60):
        y, changed = norm.apply(variables, x, True, mutable=["batch_stats"])
        variables = variables | changed
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(norm.apply(variables, x, False), y, atol=0.02)


def test_interleave_and_back() -> None:
    a, b = jnp.zeros((3, 2)), jnp.ones((3, 2))
    mixed = layers.interleave([a, b])
    np.testing.assert_array_equal(mixed[:, 0], [0, 1, 0, 1, 0, 1])
    for part, whole in zip(layers.deinterleave(mixed, 2), (a, b), strict=True):
        np.testing.assert_array_equal(part, whole)
    assert layers.interleave([a]) is a


def test_a_resize_kernel_enlarges_and_convolves() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 5, 3))
    large = x.repeat(2, 1).repeat(2, 2)
    expected = lax.conv_general_dilated(
        large, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWOI", "NHWC")
    )
    found = layers.transposed_conv(x, layers.resize_kernel(kernel))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    flat = layers.transposed_conv(jnp.ones((1, 6, 6, 3)), layers.resize_kernel(kernel))[0, 1:-1, 1:-1]
    np.testing.assert_allclose(flat, jnp.broadcast_to(flat[0, 0], flat.shape), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4, 3, 16), (4, 4, 32, 64), (512, 1)])
def test_spectral_norm(shape: tuple[int, ...]) -> None:
    kernel = jax.random.normal(jax.random.key(0), shape)
    matrix = np.asarray(kernel).reshape(-1, shape[-1])
    u, values, v = np.linalg.svd(matrix, full_matrices=False)
    normed = layers.spectral_norm(kernel)
    np.testing.assert_allclose(normed, kernel / values[0], rtol=1e-2)
    # With a largest value that stands out it is exact, and so is the gradient.
    kernel = kernel + 2 * values[0] * np.outer(u[:, 0], v[0]).reshape(shape)
    direction = jax.random.normal(jax.random.key(1), shape)

    def exact(k):
        return (k / jnp.linalg.svd(k.reshape(-1, shape[-1]), compute_uv=False)[0] * direction).sum()

    ours = jax.grad(lambda k: (layers.spectral_norm(k) * direction).sum())(kernel)
    np.testing.assert_allclose(layers.spectral_norm(kernel), kernel / (3 * values[0]), atol=1e-6)
    np.testing.assert_allclose(ours, jax.grad(exact)(kernel), atol=1e-5 * float(jnp.abs(ours).max()))


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 1), (1, 1)), ((1, 2), (0, 1))])
def test_plain_convolutions_and_their_derivatives_equal_lax(padding) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 6, 7, 3))
    kernel = 0.1 * jax.random.normal(keys[1], (4, 3, 3, 5))

    def plain(x, kernel):
        return layers.plain_conv(x, kernel, padding)

    def reference(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=DIMENSIONS)

    def penalty(f, x, kernel):
        """As R1: a gradient of a gradient."""
        gradient = jax.grad(lambda x: jnp.sin(f(x, kernel)).sum())(x)
        return jnp.square(gradient).sum()

    assert_close(plain(x, kernel), reference(x, kernel))
    for ours, theirs in zip(
        jax.grad(penalty, (1, 2))(plain, x, kernel),
        jax.grad(penalty, (1, 2))(reference, x, kernel),
        strict=True,
    ):
        assert_close(ours, theirs)


def test_a_branch_is_as_fast_as_no_branch() -> None:
    """Inside branches XLA on CPU leaves convolutions as they are written: slow ones stay slow."""
    x = jnp.ones((4, 16, 16, 64))

    class Both(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jax.nn.relu(layers.conv(64, 3, jnp.float32)(x))
            x = jax.nn.relu(layers.StridedConv(64)(x))
            return jnp.square(layers.TransposedConv(64)(x)).mean()

    params = Both().init(jax.random.key(0), x)
    outside = jax.jit(jax.grad(lambda p: Both().apply(p, x)))
    inside = jax.jit(
        lambda p, now: lax.cond(
            now, jax.grad(lambda p: Both().apply(p, x)), lambda p: jax.tree.map(jnp.zeros_like, p), p
        )
    )

    def seconds(f, *given) -> float:
        jax.block_until_ready(f(*given))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            jax.block_until_ready(f(*given))
            times.append(time.perf_counter() - start)
        return min(times)

    # As lax writes them, gradients are 50 times slower inside.
    assert seconds(inside, params, True) < 5 * seconds(outside, params)


def test_the_largest_has_a_gradient_however_it_is_rounded() -> None:
    x = jnp.maximum(jax.random.normal(jax.random.key(0), (2, 4, 4, 8)), 0).at[0, :, :, 0].set(0)  # a draw
    g = jax.random.normal(jax.random.key(1), (2, 8))
    found, back = jax.vjp(layers.largest, x)
    expected, reference = jax.vjp(lambda x: x.max((1, 2)), x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(back(g)[0], reference(g)[0])
    # As where it is computed once for the largest, and again, rounded otherwise, for the gradient.
    (again,) = layers._largest_backward((jnp.nextafter(x, -jnp.ones_like(x)), found), g)
    assert ((again != 0) == (reference(g)[0] != 0)).all()
