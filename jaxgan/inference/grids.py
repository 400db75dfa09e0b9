"""The sample grids of a training, by what styles of the system come from."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data import preprocess
from jaxgan.inference.translator import Translator
from jaxgan.runtime import images

Array = jax.Array
Grids = dict[str, np.ndarray]

PSIS = (0.5, 0.7, 1.0)  # truncation: 1 is none
NUM_SOURCES = 8
NUM_LATENTS = 6  # of one target
LATENTS_PER_DOMAIN = 3  # where there are more
MAX_DOMAINS = 10  # in a grid of latents; of more, as many spread over all


class Images(Protocol):
  """Validation images."""

  domains: tuple[str, ...]

  def readable(self, domain: int, index: int) -> np.ndarray:
    """Image `index` of a domain, or the next that can be read, uint8."""


def draw(translator: Translator, val: Images, rng: Array) -> Grids:
  """Draws the grids of a training run, always of the same inputs.

  Args:
    translator: of the state.
    val: validation images.
    rng: key of the latents.

  Returns:
    uint8 [H, W, 3], with the names of rows, and of columns' domains. Where a
    source may be of any domain: `reference` (sources above, references to the
    left), `latent_psi...` (sources above, rows of domains in turn, a latent
    each; no more than MAX_DOMAINS) and `cycle` (rows: source, reference,
    translation, and back again). Between two domains, of each direction:
    `<a>2<b>_latent`, `<a>2<b>_reference` and `<a>2<b>_cycle` (rows: source, its
    reconstruction if there is such a function, its translation, and back
    again); of a system without styles `<a>2<b>` alone, which is the last.
  """
  if translator.system.SOURCES == 'other':
    grids: Grids = {}
    for target in (1, 0):
      name = f'{val.domains[1 - target]}2{val.domains[target]}'
      grids |= _between(translator, val, target, rng, name)
    return grids
  return _among_all(translator, val, rng)


def _load(val: Images, domains: Sequence[int], first: int) -> np.ndarray:
  """Images [N, S, S, 3] in [-1, 1] of these domains; each of another number."""
  pixels = [
    val.readable(domain, first + list(domains[:i]).count(domain))
    for i, domain in enumerate(domains)
  ]
  return preprocess.to_float(np.stack(pixels))


def _among_all(translator: Translator, val: Images, rng: Array) -> Grids:
  count = len(val.domains)
  names = images.name_all(val.domains, 'domain')
  y_src = np.arange(NUM_SOURCES, dtype=np.int32) % count
  y_ref = (y_src + 1) % count
  x_src = _load(val, y_src.tolist(), 0)
  # References are other images than the sources, where there are enough.
  x_ref = _load(val, y_ref.tolist(), -(-NUM_SOURCES // count))
  above = [names[y] for y in y_src]
  grids: Grids = {}
  if 'reference' in translator.system.KINDS:
    s_ref = translator.style(y_ref, x_ref=x_ref)
    rows = [
      translator.translate_all(x_src, y, s[None])[0]
      for y, s in zip(y_ref.tolist(), s_ref, strict=True)
    ]
    labels = [f'{names[y]}\nreference' for y in y_ref]
    grids['reference'] = _matrix(
      x_src, rows, above, ['source', *labels], list(x_ref)
    )
    fake = translator.translate(x_src, y_ref, s_ref)
    back = translator.translate(
      fake, y_src, translator.style(y_src, x_ref=x_src)
    )
    grids['cycle'] = images.labelled_grid(
      list(map(list, (x_src, x_ref, fake, back))),
      [f'{a}\nto {names[y]}' for a, y in zip(above, y_ref, strict=True)],
      ['source', 'reference', 'translation', 'back again'],
    )
  if 'latent' in translator.system.KINDS:
    shape = (LATENTS_PER_DOMAIN, translator.model.latent_dim)
    z = np.asarray(jax.random.normal(rng, shape, jnp.float32))
    shown = np.linspace(0, count - 1, min(count, MAX_DOMAINS)).astype(int)
    numbers = range(1, 1 + LATENTS_PER_DOMAIN)
    for psi in PSIS:
      rows = [
        row
        for y in shown.tolist()
        for row in translator.translate_all(
          x_src, y, translator.truncated_style(y, z, psi)
        )
      ]
      labels = [
        f'{names[y]}\nlatent {n}\npsi {psi}' for y in shown for n in numbers
      ]
      grids[f'latent_psi{psi}'] = _matrix(
        x_src, rows, above, ['source', *labels]
      )
  return grids


def _between(
  translator: Translator, val: Images, target: int, rng: Array, name: str
) -> Grids:
  """The grids of one of two directions."""
  source = 1 - target
  names = images.name_all(val.domains, 'domain')
  here, there = names[source], names[target]
  own_label, unnamed = f'source\n{here}', [''] * NUM_SOURCES
  x = _load(val, [source] * NUM_SOURCES, 0)
  y_src = np.full(NUM_SOURCES, source, np.int32)
  y_trg = np.full(NUM_SOURCES, target, np.int32)
  grids: Grids = {}
  own = own_source = None
  if 'latent' in translator.system.KINDS:
    shape = (NUM_LATENTS + NUM_SOURCES, translator.model.latent_dim)
    z = np.asarray(jax.random.normal(rng, shape, jnp.float32))
    drawn = translator.style(np.full(len(z), target, np.int32), z=z)
    styles, own = np.split(drawn, [NUM_LATENTS])
    rows = translator.translate_all(x, target, styles)
    labels = [f'{there}\nlatent {n}' for n in range(1, 1 + NUM_LATENTS)]
    grids[f'{name}_latent'] = _matrix(x, rows, unnamed, [own_label, *labels])
  if 'reference' in translator.system.KINDS:
    x_ref = _load(val, [target] * NUM_LATENTS, 0)
    s_ref = translator.style(y_trg[:NUM_LATENTS], x_ref=x_ref)
    rows = translator.translate_all(x, target, s_ref)
    labels = [f'{there}\nreference'] * NUM_LATENTS
    grids[f'{name}_reference'] = _matrix(
      x, rows, unnamed, [own_label, *labels], list(x_ref)
    )
  fake = translator.translate(x, y_trg, own)
  if own is not None:
    own_source = translator.style(y_src, x_ref=x)
  shown = {own_label: x}
  if reconstruct := translator.system.reconstruct:
    shown[f'reconstruction\n{here}'] = translator.apply(reconstruct, y_src, x)
  shown[f'translation\n{there}'] = fake
  shown[f'back again\n{here}'] = translator.translate(fake, y_src, own_source)
  grids[f'{name}_cycle' if grids else name] = images.labelled_grid(
    list(map(list, shown.values())), unnamed, list(shown)
  )
  return grids


def _matrix(
  x: np.ndarray,
  rows: Sequence[np.ndarray] | np.ndarray,
  above: Sequence[str],
  left: Sequence[str],
  references: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
  """Every source (columns) in every style (rows), with their names."""
  shown: list[list[Any]] = [list(x), *map(list, rows)]
  if references is not None:
    above = ['', *above]
    shown = [
      [first, *row]
      for first, row in zip([None, *references], shown, strict=True)
    ]
  return images.labelled_grid(shown, above, left)
