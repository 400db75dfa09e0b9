"""The networks of any system as functions of NumPy arrays, on all devices."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.runtime import sharding

Array = jax.Array
Tree = Any

NUM_MEAN_LATENTS = 10_000
_LATENTS_AT_ONCE = 64

# What a program to be exported takes, by what its styles come from.
PROGRAM_INPUTS = {
  'reference': ('x', 'x_ref', 'y'),
  'latent': ('x', 'z', 'y'),
  'label': ('x', 'y'),
}


class Translator:
  """Translates any number of images; memory does not grow with it.

  A style is a row of numbers that `style` gives. It is of a domain, and is used
  with that domain as the target. A system without styles has none.

  Attributes:
    system: the functions and constants of the system.
    model: what the system built of its config.
  """

  def __init__(
    self,
    system: Any,
    model: Any,
    params: Mapping[str, Tree],
    frozen: Mapping[str, Tree] | None = None,
    *,
    chunk: int = 8,
    seed: int = 0,
  ):
    """Places the parameters on all devices of this process.

    Args:
      system: of `systems.contract`.
      model: of `system.create_model`.
      params: of `system.inference_params`.
      frozen: parameters that are never trained.
      chunk: images that are computed at a time.
      seed: of what networks draw when they are used; picture i of a call has
        key i of the seed.
    """
    self.system, self.model = system, model
    self._mesh = sharding.create_local_mesh()
    self._params, self._frozen = jax.device_put(
      (dict(params), dict(frozen or {})), sharding.replicated(self._mesh)
    )
    self._chunk, self._seed = chunk, seed
    self._means: dict[int, np.ndarray] = {}

  def style(self, y: np.ndarray, **source: np.ndarray) -> np.ndarray:
    """Styles [N, ...] of domains y [N], float32.

    Args:
      y: the domains.
      **source: what the styles come from: z [N, latent_dim] or x_ref
        [N, S, S, 3].
    """
    names = tuple(source)
    size = self._chunk if 'x_ref' in source else _LATENTS_AT_ONCE
    fn = _style(self.system.style, self.model, names)
    return self._run(fn, y, *source.values(), size=size)

  def mean_style(self, y: int, latent_dim: int) -> np.ndarray:
    """The centre of the styles of domain y.

    Where the system does not know it, it is a mean of styles, always of the
    same latents.
    """
    if self.system.mean_style:
      return np.asarray(self.system.mean_style(self.model, y))
    if y not in self._means:
      shape = (NUM_MEAN_LATENTS, latent_dim)
      z = np.asarray(jax.random.normal(jax.random.key(0), shape, jnp.float32))
      self._means[y] = self.style(np.full(len(z), y, np.int32), z=z).mean(0)
    return self._means[y]

  def truncated_style(self, y: int, z: np.ndarray, psi: float) -> np.ndarray:
    """Styles of latents z [N, latent_dim], moved towards the domain's mean.

    Args:
      y: the domain.
      z: the latents.
      psi: 1 is not at all, 0 the mean itself.
    """
    s = self.style(np.full(len(z), y, np.int32), z=z)
    if psi == 1:
      return s
    mean = self.mean_style(y, z.shape[-1])
    return mean + np.float32(psi) * (s - mean)

  def translate(
    self, x: Tree, y: np.ndarray, s: np.ndarray | None = None
  ) -> np.ndarray:
    """Sources x [N, ...] as of domains y [N], in styles s [N, ...], float32."""
    fn = _translate(self.system.translate, self.model)
    keys = None
    if self.system.DRAWS:  # as numbers, which are divided as other arrays are
      keys = np.asarray(jax.random.key_data(self._keys(len(y))))
    return self._run(fn, y, x, s, keys, size=self._chunk)

  def translate_all(
    self, x: Tree, y: int, styles: np.ndarray | None = None
  ) -> np.ndarray:
    """Every image of x [N, ...] as of domain y, in every style.

    Args:
      x: the sources; None for a system without sources: there N is 1.
      y: the target.
      styles: [R, ...]; None for a system without styles: there R is 1.

    Returns:
      [R, N, H, W, C].
    """
    rows = 1 if styles is None else len(styles)
    count = 1 if x is None else len(jax.tree.leaves(x)[0])
    fake = self.translate(
      jax.tree.map(lambda a: np.concatenate([a] * rows), x),
      np.full(rows * count, y, np.int32),
      None if styles is None else styles.repeat(count, axis=0),
    )
    return fake.reshape(rows, count, *fake.shape[1:])

  def apply(
    self, fn: Callable[..., Array], y: np.ndarray, *arrays: Tree
  ) -> np.ndarray:
    """Another function of the system on rows.

    Args:
      fn: (model, params, frozen, y, *arrays) -> [B, ...], pure.
      y: domains [N].
      *arrays: trees of [N, ...].
    """
    return self._run(_jitted(fn, self.model), y, *arrays, size=self._chunk)

  def programs(
    self, num_domains: int, model: Any = None
  ) -> dict[str, Callable[..., Array]]:
    """{kind: function} with the weights inside, to be exported.

    They map what `PROGRAM_INPUTS` says to float32 images like x; y is [B], the
    target, which is also the domain of x_ref. Another form of the model, equal
    to rounding, can be given.
    """
    # NumPy arrays: those of JAX would bind the program to their devices.
    params, frozen = jax.device_get((self._params, self._frozen))
    system, model = self.system, model or self.model

    def of_targets(y: Array | int, x: Array, source: Mapping[str, Array]):
      s = system.style(model, params, y, **source) if source else None
      keys = self._keys(x.shape[0]) if system.DRAWS else None
      fake = system.translate(model, params, frozen, x, y, s, keys)
      return fake.astype(jnp.float32)

    def run(x: Array, y: Array, source: Mapping[str, Array]) -> Array:
      if not system.BY_DOMAIN:
        return of_targets(y, x, source)
      # The domain of each image is open: all are run.
      fakes = [of_targets(i, x, source) for i in range(num_domains)]
      chosen = fakes[0]
      for i, fake in enumerate(fakes[1:], 1):
        chosen = jnp.where(y[:, None, None, None] == i, fake, chosen)
      return chosen

    programs: dict[str, Callable[..., Array]] = {
      'reference': lambda x, x_ref, y: run(x, y, {'x_ref': x_ref}),
      'latent': lambda x, z, y: run(x, y, {'z': z}),
      'label': lambda x, y: run(x, y, {}),
    }
    return {kind: programs[kind] for kind in system.KINDS}

  def _keys(self, count: int) -> Array:
    key = jax.random.key(self._seed)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))

  def _run(
    self, fn: Callable, y: np.ndarray, *arrays: Tree, size: int
  ) -> np.ndarray:
    """fn(params, frozen, y, *arrays), a chunk, and perhaps a domain, a time."""
    y = np.asarray(y, np.int32)
    if not self.system.BY_DOMAIN:
      return self._map(
        functools.partial(fn, self._params, self._frozen), size, y, *arrays
      )
    domains = np.unique(y).tolist()
    rows = [np.flatnonzero(y == domain) for domain in domains]
    parts = [
      self._map(
        functools.partial(fn, self._params, self._frozen, domain),
        size,
        *jax.tree.map(lambda a, own=own: a[own], arrays),
      )
      for domain, own in zip(domains, rows, strict=True)
    ]
    return np.concatenate(parts)[np.argsort(np.concatenate(rows))]

  def _map(self, fn: Callable, size: int, *arrays: Tree) -> np.ndarray:
    return sharding.map_chunks(fn, *arrays, mesh=self._mesh, size=size)


# One program for each model, however many translators there are of it. Where
# a system runs by domain, y is an int, of which each has a program.


@functools.cache
def _jitted(fn: Callable, model: Any) -> Callable[..., Array]:
  jitted = jax.jit(functools.partial(fn, model))
  by_domain = jax.jit(functools.partial(fn, model), static_argnums=2)

  def run(params: Tree, frozen: Tree, y: Any, *arrays: Tree) -> Array:
    program = by_domain if isinstance(y, int) else jitted
    return program(params, frozen, y, *arrays)

  return run


@functools.cache
def _style(
  style: Callable, model: Any, names: tuple[str, ...]
) -> Callable[..., Array]:
  def fn(model, params, frozen, y, *arrays):
    del frozen
    return style(model, params, y, **dict(zip(names, arrays, strict=True)))

  return _jitted(fn, model)


@functools.cache
def _translate(translate: Callable, model: Any) -> Callable[..., Array]:
  def fn(model, params, frozen, y, x, s, keys):
    keys = None if keys is None else jax.random.wrap_key_data(keys)
    return translate(model, params, frozen, x, y, s, keys)

  return _jitted(fn, model)
