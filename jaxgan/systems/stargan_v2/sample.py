"""Pictures of what the networks do: references, latents, cycles."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.runtime import images, sharding
from jaxgan.systems.stargan_v2 import losses, networks

Array = jax.Array
Tree = Any

PSIS = (0.5, 0.7, 1.0)  # truncation: 1 is none
NUM_MEAN_LATENTS = 10_000
_DOMAINS_AT_ONCE = 16  # of all latents of a mean
NUM_SOURCES = 8
LATENTS_PER_DOMAIN = 3
MAX_DOMAINS = 10  # in a grid of latents; of more, as many spread over all


class Translator:
  """The networks as functions of NumPy arrays, on all devices of a process.

  Args:
    params: generator, mapping_network and style_encoder.
    frozen: first argument of masks_fn.
    nets: the modules.
    masks_fn: (frozen, images) -> masks, where w_hpf > 0.
    chunk: images at a time; memory does not grow with the number of images.
    hp: not used.
    tx: not used.
  """

  STYLES = ('latent', 'reference')
  SOURCES = 'any'
  PSI = 0.7

  def __init__(
    self,
    params: Mapping[str, Tree],
    frozen: Tree,
    *,
    nets: networks.Networks,
    masks_fn: Any = None,
    chunk: int = 8,
    hp: Any = None,
    tx: Any = None,
  ):
    del hp, tx
    self._mesh = sharding.create_local_mesh()
    self._params, self._frozen = jax.device_put(
      (dict(params), frozen), sharding.replicated(self._mesh)
    )
    self._nets, self._masks_fn, self._chunk = nets, masks_fn, chunk

  def translate(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """G(x, s) of x [N, S, S, 3] and s [N, style_dim], float32."""
    run = _translate(self._nets, self._masks_fn)
    return self._map_chunks(
      lambda x, s: run(self._params, self._frozen, x, s), x, s
    )

  def translate_all(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Every image of x [N, S, S, 3] in every style of s [R, style_dim].

    Returns [R, N, S, S, 3].
    """
    fake = self.translate(np.tile(x, (len(s), 1, 1, 1)), s.repeat(len(x), 0))
    return fake.reshape(len(s), *x.shape)

  def encode(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """E(x, y): style codes [N, style_dim] of x [N, S, S, 3] and y [N]."""
    run = _encode(self._nets)
    return self._map_chunks(lambda x, y: run(self._params, x, y), x, y)

  def map(self, z: images.Array) -> np.ndarray:
    """F(z, .): style codes of all domains [N, K, style_dim]."""
    return np.asarray(_map(self._nets)(self._params, z), np.float32)

  def mean_styles(self, rng: Array, latent_dim: int) -> np.ndarray:
    """The centre of each domain's style codes, [K, style_dim]."""
    z = jax.random.normal(rng, (NUM_MEAN_LATENTS, latent_dim), jnp.float32)
    # A latent is mapped to all domains: where these are many, few at a time.
    domains = self._nets.mapping_network.num_domains
    parts = np.array_split(z, -(-domains // _DOMAINS_AT_ONCE))
    return sum(self.map(part).sum(0) for part in parts) / NUM_MEAN_LATENTS

  def map_truncated(
    self, z: images.Array, mean: np.ndarray, psi: float
  ) -> np.ndarray:
    """F(z, .), moved towards the means [K, style_dim]; psi 1 is not at all."""
    return mean + psi * (self.map(z) - mean)

  def programs(self) -> dict[str, Callable[..., Array]]:
    """{name: function} with the weights inside, to be exported.

    `reference` maps x, x_ref [B, S, S, 3] and y [B], the domain of x_ref, and
    `latent` maps x, z [B, latent_dim] and y, the target, to float32 images.
    """
    # NumPy arrays: those of JAX would bind the program to their devices.
    params, frozen = jax.device_get((self._params, self._frozen))
    nets, masks_fn = self._nets, self._masks_fn

    def translate(x, s):
      masks = None if masks_fn is None else masks_fn(frozen, x)
      return losses.translate(nets, params, x, s, masks).astype(jnp.float32)

    return {
      'reference': lambda x, x_ref, y: translate(
        x, losses.style(nets, params, y, x_ref=x_ref)
      ),
      'latent': lambda x, z, y: translate(
        x, losses.style(nets, params, y, z=z)
      ),
    }

  def _map_chunks(self, run, *arrays: np.ndarray) -> np.ndarray:
    return sharding.map_chunks(run, *arrays, mesh=self._mesh, size=self._chunk)


def translate_batch(
  params: Mapping[str, Tree],
  frozen: Tree,
  batch: Mapping[str, Array],
  *,
  nets: networks.Networks,
  masks_fn: Any = None,
  hp: Any = None,
  tx: Any = None,
) -> Array:
  """The sources of a training batch in the styles of its references."""
  del hp, tx
  x = batch['x_src']
  masks = None if masks_fn is None else masks_fn(frozen, x)
  s = losses.style(nets, params, batch['y_ref'], x_ref=batch['x_ref'])
  return losses.translate(nets, params, x, s, masks)


@functools.cache
def _translate(nets, masks_fn):
  def translate(params, frozen, x, s):
    masks = None if masks_fn is None else masks_fn(frozen, x)
    return losses.translate(nets, params, x, s, masks)

  return jax.jit(translate)


@functools.cache
def _encode(nets):
  return jax.jit(lambda params, x, y: losses.style(nets, params, y, x_ref=x))


@functools.cache
def _map(nets):
  return jax.jit(lambda params, z: losses.style(nets, params, None, z=z))


def sample(
  params: Mapping[str, Tree],
  frozen: Tree,
  val: Any,
  rng: Array,
  *,
  nets: networks.Networks,
  hp: losses.HParams,
  masks_fn: Any = None,
  tx: Any = None,
) -> dict[str, np.ndarray]:
  """Draws the grids of a training run, always of the same inputs.

  Args:
    params: of `inference_params`.
    frozen: parameters of frozen networks.
    val: validation data; `val.batch(n)` gives sources and references.
    rng: key of the latents.
    nets: the modules.
    hp: for the size of a latent.
    masks_fn: (frozen, images) -> masks, where w_hpf > 0.
    tx: not used.

  Returns:
    uint8 [H, W, 3]: `reference` (sources above, references to the left),
    `latent_psi...` (sources above, rows of domains in turn, a latent each; no
    more than MAX_DOMAINS) and
    `cycle` (rows: source, reference, translation, and back again).
  """
  del tx
  translator = Translator(params, frozen, nets=nets, masks_fn=masks_fn)
  batch = val.batch(NUM_SOURCES)
  x_src, x_ref = batch['x_src'], batch['x_ref']
  s_ref = translator.encode(x_ref, batch['y_ref'])
  grids = {
    'reference': _matrix(translator, x_src, s_ref, list(x_ref)),
    'cycle': _cycle(translator, batch, s_ref),
  }
  for psi, s in latent_styles(translator, rng, hp.latent_dim).items():
    grids[f'latent_psi{psi}'] = _matrix(translator, x_src, s, None)
  return grids


def latent_styles(
  translator: Translator, rng: Array, latent_dim: int
) -> dict[float, np.ndarray]:
  """{psi: styles [N * LATENTS_PER_DOMAIN, style_dim]}, domain by domain.

  N is the number of domains, or MAX_DOMAINS.
  """
  mean_rng, z_rng = jax.random.split(rng)
  mean = translator.mean_styles(mean_rng, latent_dim)
  z = jax.random.normal(z_rng, (LATENTS_PER_DOMAIN, latent_dim), jnp.float32)
  styles = {psi: translator.map_truncated(z, mean, psi) for psi in PSIS}
  count = len(mean)
  shown = np.linspace(0, count - 1, min(count, MAX_DOMAINS)).astype(int)
  return {
    psi: s[:, shown].swapaxes(0, 1).reshape(-1, s.shape[-1])
    for psi, s in styles.items()
  }


def _matrix(
  translator: Translator,
  x_src: np.ndarray,
  styles: np.ndarray,
  left: list[np.ndarray] | None,
) -> np.ndarray:
  """Every source (columns) in every style (rows)."""
  rows = [list(x_src), *map(list, translator.translate_all(x_src, styles))]
  if left is not None:
    rows = [[x, *row] for x, row in zip([None, *left], rows, strict=True)]
  return images.grid(rows)


def _cycle(
  translator: Translator, batch: Mapping[str, np.ndarray], s_ref: np.ndarray
) -> np.ndarray:
  x_src = batch['x_src']
  x_fake = translator.translate(x_src, s_ref)
  s_src = translator.encode(x_src, batch['y_src'])
  x_rec = translator.translate(x_fake, s_src)
  rows = x_src, batch['x_ref'], x_fake, x_rec
  return images.grid([list(row) for row in rows])
