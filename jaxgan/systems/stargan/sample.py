"""Pictures of what the networks do: every source with every target, cycles."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.runtime import images, sharding
from jaxgan.systems.stargan import labels as labels_lib
from jaxgan.systems.stargan import losses, networks
from jaxgan.systems.stargan.labels import Labels

Array = jax.Array
Tree = Any

NUM_SOURCES = 8
MAX_TARGETS = 12  # in a grid; of more, as many spread over all


class Translator:
  """The networks as functions of NumPy arrays, on all devices of a process.

  A style here is a code of `labels.Labels.code`: what the label of an image is
  to become. Where that depends on the label it has, the discriminator's
  classifier tells it, or the caller.

  Args:
    params: generator and discriminator.
    frozen: not used.
    nets: the modules.
    labels: of the data sets.
    chunk: images at a time; memory does not grow with the number of images.
    hp: not used.
    tx: not used.
  """

  STYLES = ('label',)
  SOURCES = 'any'

  def __init__(
    self,
    params: Mapping[str, Tree],
    frozen: Tree,
    *,
    nets: networks.Networks,
    labels: Labels,
    chunk: int = 8,
    hp: Any = None,
    tx: Any = None,
  ):
    del frozen, hp, tx
    self._mesh = sharding.create_local_mesh()
    self._params = jax.device_put(dict(params), sharding.replicated(self._mesh))
    self._nets, self._labels, self._chunk = nets, labels, chunk

  def translate(self, x: np.ndarray, c: np.ndarray) -> np.ndarray:
    """G(x, c) of x [N, S, S, 3] and c [N, label_dim], float32."""
    return self._map_chunks(_translate(self._nets), x, c)

  def estimate(self, x: np.ndarray) -> np.ndarray:
    """The labels [N, names] that the classifier sees in x [N, S, S, 3]."""
    return self._map_chunks(_estimate(self._nets, self._labels), x)

  def translate_all(
    self, x: np.ndarray, s: np.ndarray, c: np.ndarray | None = None
  ) -> np.ndarray:
    """Every image of x [N, S, S, 3] to every code of s [R, label_dim].

    Args:
      x: the sources.
      s: codes of `labels.Labels.code`.
      c: the labels the sources have, [N, names]; None for the classifier's.

    Returns:
      [R, N, S, S, 3].
    """
    if c is None:
      asks = np.any(s < 0)
      c = self.estimate(x) if asks else np.zeros((len(x), 0), np.float32)
    codes, c = s.repeat(len(x), axis=0), np.tile(c, (len(s), 1))
    c_trg = np.asarray(labels_lib.resolve(jnp.asarray(codes), jnp.asarray(c)))
    fake = self.translate(np.tile(x, (len(s), 1, 1, 1)), c_trg)
    return fake.reshape(len(s), *x.shape)

  def label_styles(self, y: np.ndarray) -> np.ndarray:
    """Codes [N, label_dim] of targets y [N]."""
    return np.stack([self._labels.code(int(target)) for target in y])

  def programs(self) -> dict[str, Callable[..., Array]]:
    """{name: function} with the weights inside, to be exported.

    `label` maps x [B, S, S, 3] and y [B], the target, to float32 images.
    """
    # NumPy arrays: those of JAX would bind the program to their devices.
    params, nets, labels = (
      jax.device_get(self._params),
      self._nets,
      self._labels,
    )
    codes = self.label_styles(np.arange(len(labels.names)))

    def translate(x, y):
      c = labels.estimate(losses.discriminate(nets, params, x)[1])
      c_trg = labels_lib.resolve(jnp.asarray(codes)[y], c)
      return losses.translate(nets, params, x, c_trg).astype(jnp.float32)

    return {'label': translate}

  def _map_chunks(self, run, *arrays: np.ndarray) -> np.ndarray:
    return sharding.map_chunks(
      functools.partial(run, self._params),
      *arrays,
      mesh=self._mesh,
      size=self._chunk,
    )


def translate_batch(
  params: Mapping[str, Tree],
  frozen: Tree,
  batch: Mapping[str, Array],
  *,
  nets: networks.Networks,
  labels: Labels,
  hp: Any = None,
  tx: Any = None,
) -> Array:
  """The images of a training batch, of all iterations, each by another label.

  Of two data sets, those of the first.
  """
  del frozen, hp, tx
  x, c = (batch[key].reshape(-1, *batch[key].shape[2:]) for key in ('x0', 'c0'))
  c_trg = labels.complete(0, jnp.roll(c, 1, axis=0))
  return losses.translate(nets, params, x, c_trg)


@functools.cache
def _translate(nets):
  return jax.jit(lambda params, x, c: losses.translate(nets, params, x, c))


@functools.cache
def _estimate(nets, labels):
  def estimate(params, x):
    return labels.estimate(losses.discriminate(nets, params, x)[1])

  return jax.jit(estimate)


def sample(
  params: Mapping[str, Tree],
  frozen: Tree,
  val: Any,
  rng: Array,
  *,
  nets: networks.Networks,
  labels: Labels,
  hp: Any = None,
  tx: Any = None,
) -> dict[str, np.ndarray]:
  """Draws the grids of a training run, always of the same inputs.

  Args:
    params: of `inference_params`.
    frozen: not used.
    val: validation data; `val.batch(n)` gives sources and their labels.
    rng: not used: nothing is drawn.
    nets: the modules.
    labels: of the data sets.
    hp: not used.
    tx: not used.

  Returns:
    uint8 [H, W, 3]: `targets` (sources above, a row for each target) and
    `cycle` (rows: source, translation to the last target, and back again); of
    a second data set `joint_...`.
  """
  del frozen, rng, hp, tx
  translator = Translator(params, {}, nets=nets, labels=labels)
  batch = val.batch(NUM_SOURCES)
  count = len(labels.names)
  shown = np.linspace(0, count - 1, min(count, MAX_TARGETS)).astype(int)
  codes = translator.label_styles(shown)
  grids = {}
  for i in range(len(labels.sets)):
    x, c = batch[f'x{i}'], batch[f'c{i}']
    c_org = np.asarray(labels.complete(i, jnp.asarray(c)))
    # Of labels that the set does not tell, those that the classifier sees.
    known = translator.estimate(x)
    known[:, labels.span(i)] = c
    fakes = translator.translate_all(x, codes, known)
    back = translator.translate(fakes[-1], c_org)
    prefix = 'joint_' if i else ''
    grids[f'{prefix}targets'] = images.grid([list(x), *map(list, fakes)])
    grids[f'{prefix}cycle'] = images.grid(
      [list(x), list(fakes[-1]), list(back)]
    )
  return grids
