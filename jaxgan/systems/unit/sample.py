"""Pictures of what the networks do: reconstructions, translations, cycles."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.runtime import images, sharding
from jaxgan.systems.unit import losses, networks

Array = jax.Array
Tree = Any

NUM_SOURCES = 8


class Translator:
  """The networks as functions of NumPy arrays, on all devices of a process.

  A style here is [1]: the domain, 0 or 1, that an image is to become of. A
  source is taken to be of the other domain.

  Args:
    params: of the generator.
    frozen: not used.
    nets: the modules.
    chunk: images at a time; memory does not grow with the number of images.
    hp: not used.
    tx: not used.
    domains: not used.
  """

  STYLES = ('label',)
  SOURCES = 'other'

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
    """x [N, S, S, 3] as of the domains s [N, 1], float32."""
    return self._by_domain(_translate, s[:, 0], x)

  def translate_all(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Every image of x [N, S, S, 3] as of every domain of s [R, 1].

    Returns [R, N, S, S, 3].
    """
    fake = self.translate(np.tile(x, (len(s), 1, 1, 1)), s.repeat(len(x), 0))
    return fake.reshape(len(s), *x.shape)

  def reconstruct(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x [N, S, S, 3] of domains y [N], from its own code."""
    return self._by_domain(_reconstruct, y, x)

  def label_styles(self, y: np.ndarray) -> np.ndarray:
    """Targets y [N] as styles [N, 1]."""
    return np.asarray(y, np.float32)[:, None]

  def programs(self) -> dict[str, Callable[..., Array]]:
    """{name: function} with the weights inside, to be exported.

    `label` maps x [B, S, S, 3] and y [B], the target, to float32 images.
    """
    # NumPy arrays: those of JAX would bind the program to their devices.
    params, nets = jax.device_get(self._params), self._nets

    def translate(x, y):
      # The domain of each image is open: both are run.
      first, second = (losses.translate(nets, params, x, i) for i in range(2))
      chosen = jnp.where(y[:, None, None, None] == 0, first, second)
      return chosen.astype(jnp.float32)

    return {'label': translate}

  def _by_domain(
    self, program: Callable, y: np.ndarray, x: np.ndarray
  ) -> np.ndarray:
    """The program of each row's domain on the rows."""
    return sharding.map_by_domain(
      lambda domain: functools.partial(
        program(self._nets, domain), self._params
      ),
      y,
      x,
      mesh=self._mesh,
      size=self._chunk,
    )


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
  """The images of domain a of a training batch, as of domain b."""
  del frozen, hp, tx, domains
  return losses.translate(nets, params, batch['x_a'], 1)


@functools.cache
def _translate(nets, domain):
  return jax.jit(lambda params, x: losses.translate(nets, params, x, domain))


@functools.cache
def _reconstruct(nets, domain):
  def reconstruct(params, x):
    h = losses.encode(nets, params, x, domain)
    return losses.decode(nets, params, h, (domain,))[0]

  return jax.jit(reconstruct)


def sample(
  params: Mapping[str, Tree],
  frozen: Tree,
  val: Any,
  rng: Array,
  *,
  nets: networks.Networks,
  domains: tuple[str, ...],
  hp: Any = None,
  tx: Any = None,
) -> dict[str, np.ndarray]:
  """Draws the grids of a training run, always of the same inputs.

  Args:
    params: of `inference_params`.
    frozen: not used.
    val: validation data; `val.batch(n)` gives images of both domains.
    rng: not used: nothing is drawn.
    nets: the modules.
    domains: their names.
    hp: not used.
    tx: not used.

  Returns:
    uint8 [H, W, 3], `<a>2<b>` and `<b>2<a>`, of rows: source, its
    reconstruction, its translation, and back again.
  """
  del frozen, rng, hp, tx
  translator = Translator(params, {}, nets=nets)
  batch = val.batch(NUM_SOURCES)
  grids = {}
  for target, letter in ((1, 'a'), (0, 'b')):
    x = batch[f'x_{letter}']
    y_src, y_trg = np.full(len(x), 1 - target), np.full(len(x), target)
    fake = translator.translate(x, translator.label_styles(y_trg))
    back = translator.translate(fake, translator.label_styles(y_src))
    rows = x, translator.reconstruct(x, y_src), fake, back
    name = f'{domains[1 - target]}2{domains[target]}'
    grids[name] = images.grid([list(row) for row in rows])
  return grids
