import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nets import layers
from jaxgan.systems.stargan_v2 import networks


def _draw(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize('form', ['phases', 'strided'])
@pytest.mark.parametrize('fn', [layers.convolve_down, layers.convolve_up])
def test_the_forms_of_resampling_are_equal(fn, form):
  """Values, gradients, and the gradient of a gradient, which R1 needs."""

  @jax.jit
  def values(x, kernel):
    def run(form):
      def loss(x, kernel):
        return jnp.sum(jnp.sin(fn(x, kernel, form)))

      def penalty(x, kernel):
        return jnp.sum(jnp.square(jax.grad(loss)(x, kernel)))

      return [
        fn(x, kernel, form),
        *jax.grad(loss, (0, 1))(x, kernel),
        *jax.grad(penalty, (0, 1))(x, kernel),
      ]

    return run(form), run('plain')

  with jax.enable_x64(True):
    got, expected = values(*_draw((2, 6, 4, 3), (3, 3, 3, 5)))
    for a, b in zip(got, expected, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_a_forward_pass_is_not_computed_twice():
  """XLA merges a pass with the same one under differentiation.

  The step counts on it: the latent fakes of two phases are one, as are the
  encodings of the sources.
  """
  block = networks.AdainResBlk(8)
  x, s = jnp.ones((2, 8, 8, 8)), jnp.ones((2, 4))
  params = block.init(jax.random.key(0), x, s)

  def forward(params):
    return block.apply(params, x, s)

  def grad(params):
    return jax.grad(lambda p: jnp.sum(jnp.sin(forward(p))))(params)

  def num_convolutions(fn):
    return jax.jit(fn).lower(params).compile().as_text().count(' convolution(')

  both = num_convolutions(lambda p: (forward(p), grad(p)))
  assert both == num_convolutions(grad) == 6


def test_selected_heads_are_those_of_all():
  with jax.enable_x64(True):
    (x,) = _draw((4, 3))
    y = jnp.array([6, 0, 0, 3])

    def heads(select):
      return layers.StackedDense(7, 2, select=select, dtype=jnp.float64)

    params = heads(True).init(jax.random.key(0), x, y)
    params['params']['bias'] = _draw((7, 2))[0]

    def loss(params, select):
      h = heads(select).apply(params, x, y)
      return jnp.sum(jnp.sin(h)), h

    (_, a), grad_a = jax.value_and_grad(loss, has_aux=True)(params, True)
    (_, b), grad_b = jax.value_and_grad(loss, has_aux=True)(params, False)
    np.testing.assert_allclose(a, b, rtol=1e-13)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-13), grad_a, grad_b
    )
    for select in (True, False):
      outside = heads(select).apply(params, x, y.at[0].set(7))
      assert np.isnan(outside[0]).all() and not np.isnan(outside[1:]).any()


def test_only_the_heads_of_the_batch_are_run():
  z, y = jnp.ones((2, 4)), jnp.array([0, 5])

  def flops(**settings):
    mapping = networks.MappingNetwork(
      style_dim=5, num_domains=100, hidden_dim=16, **settings
    )
    params = mapping.init(jax.random.key(0), z, y)
    compiled = jax.jit(mapping.apply).lower(params, z, y).compile()
    return compiled.cost_analysis()['flops']

  assert flops() < flops(select_heads=False) / 10


def test_remat_keeps_the_gradient_and_saves_less_for_it():
  """What the backward pass gets; XLA's CPU backend computes it once anyway."""
  x = jnp.asarray(_draw((2, 8, 8, 4))[0], jnp.float32)

  def gradient(remat):
    block = networks.block(networks.ResBlk, remat, normalize=True)(4)
    params = block.init(jax.random.key(0), x)
    y, pullback = jax.vjp(block.apply, params, x)
    saved = sum(leaf.nbytes for leaf in jax.tree.leaves(pullback))
    return pullback(y), saved

  plain, saved_plain = gradient(False)
  remat, saved_remat = gradient(True)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
    remat,
    plain,
  )
  assert saved_remat < saved_plain / 3


def test_layer_norm_has_an_unbiased_deviation_and_epsilon_outside():
  x = np.random.default_rng(0).normal(2, 3, (2, 2, 3, 2)).astype(np.float32)
  scale, bias = np.float32([2, -1]), np.float32([0.5, 3])
  norm = layers.LayerNorm(epsilon=0.5)
  got = norm.apply({'params': {'scale': scale, 'bias': bias}}, x)
  for image, out in zip(x, got, strict=True):
    std = image.std(ddof=1)
    expected = (image - image.mean()) / (std + 0.5)
    expected = expected * scale[None, None] + bias[None, None]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
  assert layers.LayerNorm().epsilon == 1e-5


def test_layer_norm_of_one_colour_has_a_finite_gradient():
  norm, x = layers.LayerNorm(), jnp.full((1, 2, 2, 3), 0.3)
  params = norm.init(jax.random.key(0), x)

  def loss(params, x):
    return jnp.sum(jnp.square(norm.apply(params, x)))

  grads = jax.grad(loss, (0, 1))(params, x)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_layer_norm_is_drawn_and_kept_in_float32():
  norm = layers.LayerNorm(dtype=jnp.bfloat16)
  x = jnp.ones((1, 2, 2, 500), jnp.bfloat16)
  y, variables = norm.init_with_output(jax.random.key(0), x)
  scale, bias = (variables['params'][key] for key in ('scale', 'bias'))
  assert y.dtype == jnp.bfloat16 and scale.dtype == np.float32
  assert 0 <= scale.min() < 0.05 and 0.95 < scale.max() <= 1
  assert not bias.any()


def test_modulation_by_hand():
  # Deviation 1 about 3, and 0 about 5.
  x = jnp.array([[2.0, 5.0], [4.0, 5.0]]).reshape(1, 2, 1, 2)
  scale, bias = jnp.array([[3.0, 7.0]]), jnp.array([[10.0, 20.0]])
  got = layers.modulate(x, scale, bias)[0, :, 0]
  np.testing.assert_allclose(got, [[7, 20], [13, 20]], rtol=1e-4)
