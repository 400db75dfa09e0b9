"""Pictures of what the networks do: drawn styles, references, cycles."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.runtime import images, sharding
from jaxgan.systems.munit import losses, networks

Array = jax.Array
Tree = Any

NUM_SOURCES = 8
NUM_STYLES = 6  # rows of a grid of drawn styles
NUM_REFERENCES = 6


class Translator:
  """The networks as functions of NumPy arrays, on all devices of a process.

  A style here is [latent_dim + 1]: the last number is the domain, 0 or 1, whose
  style it is. A source is taken to be of the other domain.

  Args:
    params: of the generator.
    frozen: not used.
    nets: the modules.
    chunk: images at a time; memory does not grow with the number of images.
    hp: not used.
    tx: not used.
    domains: not used.
  """

  STYLES = ('latent', 'reference')
  SOURCES = 'other'
  PSI = 1.0  # Differs from StarGAN v2: the original does not truncate.

  def __init__(
    self,
    params: Mapping[str, Tree],
    frozen: Tree,
    *,
    nets: networks.Networks,
    chunk: int = 8,
    hp: Any = None,
    tx: Any = None,
    domains: Any = None,
  ):
    del frozen, hp, tx, domains
    self._mesh = sharding.create_local_mesh()
    self._params = jax.device_put(dict(params), sharding.replicated(self._mesh))
    self._nets, self._chunk = nets, chunk

  def translate(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """x [N, S, S, 3] in the styles s [N, latent_dim + 1], float32."""
    return self._by_domain(_translate, s[:, -1], x, s[:, :-1])

  def translate_all(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Every image of x [N, S, S, 3] in every style of s [R, latent_dim + 1].

    Returns [R, N, S, S, 3].
    """
    fake = self.translate(np.tile(x, (len(s), 1, 1, 1)), s.repeat(len(x), 0))
    return fake.reshape(len(s), *x.shape)

  def reconstruct(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x [N, S, S, 3] of domains y [N], of its own content and style."""
    return self._by_domain(_reconstruct, y, x)

  def encode(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Styles [N, latent_dim + 1] of x [N, S, S, 3], of domains y [N]."""
    return _join(self._by_domain(_encode, y, x), y)

  def map(self, z: images.Array) -> np.ndarray:
    """Latents [N, latent_dim] as styles of both domains, [N, 2, ... + 1]."""
    z = np.asarray(z, np.float32)
    both = [_join(z, np.full(len(z), domain)) for domain in range(2)]
    return np.stack(both, axis=1)

  def mean_styles(self, rng: Array, latent_dim: int) -> np.ndarray:
    """The centre of each domain's styles, [2, latent_dim + 1]: zero."""
    del rng
    return self.map(np.zeros((1, latent_dim)))[0]

  def map_truncated(
    self, z: images.Array, mean: np.ndarray, psi: float
  ) -> np.ndarray:
    """`map`, moved towards the means; psi 1 is not at all."""
    return mean + np.float32(psi) * (self.map(z) - mean)

  def programs(self) -> dict[str, Callable[..., Array]]:
    """{name: function} with the weights inside, to be exported.

    `reference` maps x, x_ref [B, S, S, 3] and y [B], the domain of x_ref, and
    `latent` maps x, z [B, latent_dim] and y, the target, to float32 images.
    """
    # NumPy arrays: those of JAX would bind the program to their devices.
    params, nets = jax.device_get(self._params), self._nets

    def choose(y, of_domain):
      # The domain of each image is open: both are run.
      first, second = (of_domain(domain) for domain in range(2))
      chosen = jnp.where(y[:, None, None, None] == 0, first, second)
      return chosen.astype(jnp.float32)

    def from_reference(x, x_ref, domain):
      s = losses.style(nets, params, x_ref, domain)
      return losses.translate(nets, params, x, s, domain)

    return {
      'reference': lambda x, x_ref, y: choose(
        y, functools.partial(from_reference, x, x_ref)
      ),
      'latent': lambda x, z, y: choose(
        y, functools.partial(losses.translate, nets, params, x, z)
      ),
    }

  def _by_domain(
    self, program: Callable, y: np.ndarray, *arrays: np.ndarray
  ) -> np.ndarray:
    """The program of each row's domain on the rows."""
    return sharding.map_by_domain(
      lambda domain: functools.partial(
        program(self._nets, domain), self._params
      ),
      y,
      *arrays,
      mesh=self._mesh,
      size=self._chunk,
    )


def _join(s: np.ndarray, y: np.ndarray) -> np.ndarray:
  """Styles [N, latent_dim] and their domains [N] in one array."""
  return np.concatenate([s, y[:, None].astype(np.float32)], axis=1)


def translate_batch(
  params: Mapping[str, Tree],
  frozen: Tree,
  batch: Mapping[str, Array],
  *,
  nets: networks.Networks,
  hp: Any = None,
  tx: Any = None,
  domains: Any = None,
) -> Array:
  """The images of domain b of a training batch in the styles of a's."""
  del frozen, hp, tx, domains
  s = losses.style(nets, params, batch['x_a'], 0)
  return losses.translate(nets, params, batch['x_b'], s, 0)


@functools.cache
def _translate(nets, domain):
  return jax.jit(
    lambda params, x, s: losses.translate(nets, params, x, s, domain)
  )


@functools.cache
def _encode(nets, domain):
  return jax.jit(lambda params, x: losses.style(nets, params, x, domain))


@functools.cache
def _reconstruct(nets, domain):
  def reconstruct(params, x):
    s = losses.style(nets, params, x, domain)
    c = losses.content(nets, params, x, domain)
    return losses.decode(nets, params, c, s, domain)

  return jax.jit(reconstruct)


def sample(
  params: Mapping[str, Tree],
  frozen: Tree,
  val: Any,
  rng: Array,
  *,
  nets: networks.Networks,
  domains: tuple[str, ...],
  hp: losses.HParams,
  tx: Any = None,
) -> dict[str, np.ndarray]:
  """Draws the grids of a training run, always of the same inputs.

  Args:
    params: of `inference_params`.
    frozen: not used.
    val: validation data; `val.batch(n)` gives images of both domains.
    rng: key of the styles.
    nets: the modules.
    domains: their names.
    hp: for the size of a style.
    tx: not used.

  Returns:
    uint8 [H, W, 3], for both directions: `<a>2<b>_latent` (sources above, a row
    for each of some drawn styles, the same for all sources),
    `<a>2<b>_reference` (sources above, references to the left) and
    `<a>2<b>_cycle` (rows: source, its reconstruction, its translation in a
    style drawn for it, and back again in its own).
  """
  del frozen, tx
  translator = Translator(params, {}, nets=nets)
  batch = val.batch(NUM_SOURCES)
  shape = (NUM_STYLES + NUM_SOURCES, hp.latent_dim)
  drawn = translator.map(jax.random.normal(rng, shape, jnp.float32))
  grids = {}
  for target, letters in ((1, 'ab'), (0, 'ba')):
    x, x_ref = (batch[f'x_{letter}'] for letter in letters)
    name = f'{domains[1 - target]}2{domains[target]}'
    y_src = np.full(len(x), 1 - target)
    styles, own = np.split(drawn[:, target], [NUM_STYLES])
    rows = translator.translate_all(x, styles)
    grids[f'{name}_latent'] = images.grid([list(x), *map(list, rows)])

    x_ref = x_ref[:NUM_REFERENCES]
    s_ref = translator.encode(x_ref, np.full(len(x_ref), target))
    rows = translator.translate_all(x, s_ref)
    grids[f'{name}_reference'] = images.grid(
      [
        [left, *row]
        for left, row in zip([None, *x_ref], [x, *rows], strict=True)
      ]
    )

    fake = translator.translate(x, own)
    back = translator.translate(fake, translator.encode(x, y_src))
    reconstructed = translator.reconstruct(x, y_src)
    grids[f'{name}_cycle'] = images.grid(
      [list(row) for row in (x, reconstructed, fake, back)]
    )
  return grids
