"""How outputs look beside real pictures, in two numbers.

Losses do not tell noise from a picture, nor one picture for every source from a
translation. So a few validation images, always the same, are translated in one
style, and their outputs are compared: `collapse.NOISE` is how rough they are,
in units of real images of the target, and `collapse.SPREAD` how far they are
apart, in units of their sources, or of real images if these are less so.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan.data import preprocess
from jaxgan.data.eval_data import EvalData
from jaxgan.inference.translator import Translator
from jaxgan.runs import collapse
from jaxgan.runtime import images

Array = jax.Array

LOOK_EVERY_STEPS = 100  # it costs as much as a part of a step
NUM_IMAGES = 8
MAX_TARGETS = 2  # more tell little more
_SMALL = (8, 8)  # pixels
_LEAST = 0.1  # grey levels, to divide by


class Target(NamedTuple):
  """What is looked at of a target.

  Attributes:
    y: number of the target.
    sources: of other domains, uint8 [N, S, S, 3].
    real: images of the target, of the same shape.
  """

  y: int
  sources: np.ndarray
  real: np.ndarray


def read_targets(val: EvalData, names: Sequence[str]) -> list[Target]:
  """Two targets at most, with validation images, always the same.

  Args:
    val: validation images.
    names: of all targets. Sources are of the other domains, where a target is
      a domain of `val`.
  """
  known = [name for name in names if name in val.domains] or names
  every = range(len(val.domains))
  targets = []
  for name in known[:MAX_TARGETS]:
    own = [i for i in every if val.domains[i] == name] or every
    others = [i for i in every if val.domains[i] != name] or every
    y = names.index(name)
    targets.append(Target(y, _load(val, others), _load(val, own)))
  return targets


def look(
  translator: Translator, targets: Sequence[Target], rng: Array
) -> dict[str, float]:
  """{NOISE, SPREAD} of a state, of all targets the worse.

  Where validation has one image alone there is no SPREAD.

  Args:
    translator: of the state.
    targets: of `read_targets`.
    rng: key of the latent.
  """
  noise, spread = [], []
  for target in targets:
    y = np.full(len(target.sources), target.y, np.int32)
    style = _one_style(translator, y, target.real, rng)
    x = preprocess.to_float(target.sources)
    made = np.nan_to_num(translator.translate(x, y, style))
    fake = images.to_uint8(made)  # of NaN grey: the next step finds it
    noise.append(roughness(fake) / roughness(target.real))
    # Edges are nearer to each other than photographs are.
    apart = min(distance(target.sources), distance(target.real))
    if apart > _LEAST:
      spread.append(distance(fake) / apart)
  found = {collapse.NOISE: max(noise)}
  return found | {collapse.SPREAD: min(spread)} if spread else found


def _load(val: EvalData, domains: Sequence[int]) -> np.ndarray:
  """Images of these domains in turn, uint8 [N, S, S, 3]."""
  count = len(domains)
  return np.stack(
    [val.readable(domains[i % count], i // count) for i in range(NUM_IMAGES)]
  )


def _one_style(
  translator: Translator, y: np.ndarray, real: np.ndarray, rng: Array
) -> np.ndarray | None:
  """The same style for all of y: else outputs differ in that."""
  kinds = translator.system.KINDS
  if 'label' in kinds:
    return None
  if 'latent' in kinds:
    z = jax.random.normal(rng, (1, translator.model.latent_dim), jnp.float32)
    style = translator.style(y[:1], z=np.asarray(z))
  else:
    style = translator.style(y[:1], x_ref=preprocess.to_float(real[:1]))
  return style.repeat(len(y), axis=0)


def roughness(pixels: np.ndarray) -> float:
  """Mean difference of pixels from the mean of their four neighbours.

  Args:
    pixels: images, uint8 [N, S, S, 3].

  Returns:
    In grey levels, not 0 where images are flat.
  """
  x = pixels.astype(np.float32)
  middle = x[:, 1:-1, 1:-1]
  around = x[:, 2:, 1:-1] + x[:, :-2, 1:-1] + x[:, 1:-1, 2:] + x[:, 1:-1, :-2]
  return max(_LEAST, float(np.abs(middle - around / 4).mean()))


def distance(pixels: np.ndarray) -> float:
  """Mean difference of every two images, made small: noise is no difference.

  Args:
    pixels: images, uint8 [N, S, S, 3].

  Returns:
    In grey levels, not 0 where images are alike.
  """
  small = [
    np.asarray(Image.fromarray(x).resize(_SMALL, Image.Resampling.BOX), float)
    for x in pixels
  ]
  pairs = itertools.combinations(small, 2)
  return max(_LEAST, float(np.mean([np.abs(a - b).mean() for a, b in pairs])))
