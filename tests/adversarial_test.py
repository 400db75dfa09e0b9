import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.losses import adversarial


def test_logistic_terms_at_known_logits():
  # sigmoid(log 3) = 3/4
  logits = jnp.array([0.0, np.log(3.0)])
  real = (np.log(2) - np.log(3 / 4)) / 2
  fake = (np.log(2) - np.log(1 / 4)) / 2
  np.testing.assert_allclose(adversarial.logistic_real(logits), real, 1e-6)
  np.testing.assert_allclose(adversarial.logistic_fake(logits), fake, 1e-6)


def test_logistic_terms_do_not_overflow():
  logits = jnp.array([-1e4, 1e4])
  np.testing.assert_allclose(adversarial.logistic_real(logits), 5e3)
  np.testing.assert_allclose(adversarial.logistic_fake(logits), 5e3)


def test_r1_of_a_linear_discriminator():
  a = jnp.arange(12.0).reshape(1, 2, 2, 3)
  x = jnp.ones((4, 2, 2, 3))
  penalty = adversarial.r1_penalty(lambda x: jnp.sum(a * x, (1, 2, 3)), x)
  np.testing.assert_allclose(penalty, 506 / 2)  # |a|^2 / 2


def test_r1_is_a_mean_over_the_batch():
  x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
  penalty = adversarial.r1_penalty(lambda x: jnp.sum(x**2, (1, 2, 3)), x)
  np.testing.assert_allclose(penalty, 0.5 * (2**2 + 6**2) / 2)


def test_gradient_penalty_of_a_linear_critic():
  a = jnp.arange(12.0).reshape(1, 2, 2, 3)
  x = jnp.ones((4, 2, 2, 3))
  penalty = adversarial.gradient_penalty(lambda x: jnp.sum(a * x, (1, 2, 3)), x)
  np.testing.assert_allclose(penalty, (np.sqrt(506) - 1) ** 2, rtol=1e-6)


def test_gradient_penalty_adds_up_the_patches_and_is_a_mean_of_images():
  # A map of two: the norms are |x_b| times 2 + 1.
  x = jnp.array([1.0, 3.0]).reshape(2, 1, 1, 1)
  penalty = adversarial.gradient_penalty(
    lambda x: jnp.concatenate([x**2, x**2 / 2], axis=1), x
  )
  np.testing.assert_allclose(penalty, ((3 - 1) ** 2 + (9 - 1) ** 2) / 2)


def test_gradient_penalty_of_a_constant_critic_has_a_finite_gradient():
  x = jnp.ones((2, 1, 1, 3))

  def penalty(a):
    return adversarial.gradient_penalty(lambda x: a * jnp.sum(x, (1, 2, 3)), x)

  value, grad = jax.value_and_grad(penalty)(0.0)
  assert (value, grad) == (1, 0)
  value, grad = jax.value_and_grad(penalty)(2.0)  # (2 sqrt(3) - 1)^2
  np.testing.assert_allclose(value, (np.sqrt(12) - 1) ** 2, rtol=1e-6)
  np.testing.assert_allclose(
    grad, 2 * (np.sqrt(12) - 1) * np.sqrt(3), rtol=1e-6
  )


def test_least_squares_by_hand():
  scores = jnp.array([3.0, -1.0])
  assert adversarial.least_squares_real(scores) == (2**2 + 2**2) / 2
  assert adversarial.least_squares_fake(scores) == (3**2 + 1**2) / 2


def test_the_terms_of_a_name():
  assert set(adversarial.GAN_TYPES) == {'lsgan', 'nsgan'}
  scores = jnp.array([0.0])
  for name, real, fake in (('lsgan', 1, 0), ('nsgan', np.log(2), np.log(2))):
    terms = adversarial.GAN_TYPES[name]
    np.testing.assert_allclose([t(scores) for t in terms], [real, fake], 1e-6)


def test_scales_are_added_up_whatever_their_sizes():
  scores = jnp.full((2, 4, 4), 3.0), jnp.full((2, 1, 1), 5.0)
  total = adversarial.sum_scales(adversarial.least_squares_real, scores)
  assert total == 2**2 + 4**2
