"""The labels of StarGAN: what an image is, and what it is to become.

A data set has domains, of which an image has one, or attributes, any of which
it may have. A label is a row of zeros and ones, one for each name. Of two data
sets trained together, the generator gets both labels, zeros where one is not
known, and then a mask that tells which is (Choi et al. 2018, section 3.2).
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

Array = jax.Array

# In a code, beside 0 and 1: the source's own label there, or the other one.
KEEP, FLIP = -1.0, -2.0

_ATTRIBUTE_DATA = ('celeba', 'shapes_attributes')
# Of these attributes of CelebA, an image that gets one loses the others.
_HAIR = frozenset({'Black_Hair', 'Blond_Hair', 'Brown_Hair', 'Gray_Hair'})


class LabelSet(NamedTuple):
  """The labels of one data set."""

  names: tuple[str, ...]
  exclusive: bool  # domains: one of them holds


class Labels(NamedTuple):
  """The labels of one data set, or of two trained together."""

  sets: tuple[LabelSet, ...]

  @property
  def names(self) -> tuple[str, ...]:
    """Of all sets, in the order of the discriminator's logits."""
    return tuple(name for labels in self.sets for name in labels.names)

  @property
  def resolved(self) -> dict[str, Any]:
    """The settings that they decide, by the config's names."""
    decided: dict[str, Any] = {'model.num_domains': len(self.names)}
    for i, labels in enumerate(self.sets):
      decided[f'data.{"joint_" if i else ""}domains'] = labels.names
    return decided

  @property
  def dim(self) -> int:
    """Numbers in a label as the generator gets it: with the mask."""
    return len(self.names) + (len(self.sets) if len(self.sets) > 1 else 0)

  def span(self, index: int) -> slice:
    """Where the labels of a set are among all of them."""
    start = sum(len(labels.names) for labels in self.sets[:index])
    return slice(start, start + len(self.sets[index].names))

  def complete(self, index: int, c: Array) -> Array:
    """Labels [B, dim] of those of one set [B, C]."""
    if len(self.sets) == 1:
      return c
    before, after = (
      jnp.zeros((len(c), count), c.dtype)
      for count in (self.span(index).start, self.dim - self.span(index).stop)
    )
    mask = len(self.names) - self.span(index).stop + index
    return jnp.concatenate([before, c, after.at[:, mask].set(1)], axis=1)

  def code(self, target: int) -> np.ndarray:
    """What the label of an image is to become, [dim]: 0, 1, KEEP and FLIP.

    As the original's tests: of domains and of hair colours the target alone
    holds; another attribute becomes what it was not.

    Args:
      target: index into names.
    """
    (index,) = (
      i
      for i in range(len(self.sets))
      if self.span(i).start <= target < self.span(i).stop
    )
    span, labels = self.span(index), self.sets[index]
    name = self.names[target]
    code = np.zeros(self.dim, np.float32)
    if not labels.exclusive:
      code[span] = KEEP
    if labels.exclusive or name in _HAIR:
      for i, other in enumerate(labels.names, span.start):
        if labels.exclusive or other in _HAIR:
          code[i] = i == target
    else:
      code[target] = FLIP
    if len(self.sets) > 1:
      code[len(self.names) + index] = 1
    return code

  @property
  def codes(self) -> np.ndarray:
    """The codes of all targets, [names, dim]."""
    return np.stack([self.code(target) for target in range(len(self.names))])

  @property
  def ask(self) -> bool:
    """Whether any code asks for the label that an image has."""
    return bool(np.any(self.codes < 0))

  @property
  def asked(self) -> tuple[str, ...]:
    """The names that some code asks an image for."""
    asked = np.any(self.codes[:, : len(self.names)] < 0, axis=0)
    return tuple(itertools.compress(self.names, asked))

  def estimate(self, logits: Array) -> Array:
    """The likely labels [B, names] of images, of the classifier's logits."""
    parts = []
    for i, labels in enumerate(self.sets):
      part = logits[:, self.span(i)]
      if labels.exclusive:
        part = jax.nn.one_hot(jnp.argmax(part, axis=1), part.shape[1])
      parts.append((part > 0).astype(jnp.float32))
    return jnp.concatenate(parts, axis=1)


def resolve(code: Array, c: Array) -> Array:
  """Labels [B, dim] that codes [B, dim] make of labels [B, names]."""
  own = jnp.pad(c, ((0, 0), (0, code.shape[1] - c.shape[1])))
  flipped = jnp.where(code == FLIP, 1 - own, code)
  return jnp.where(code == KEEP, own, flipped)


def find_labels(config: ConfigDict) -> Labels:
  """The labels of a config that is complete: what the data has is in it."""
  data = config.data
  sets = [(data.name, data.domains)]
  if data.joint_name:
    sets.append((data.joint_name, data.joint_domains))
  return Labels(
    tuple(
      LabelSet(tuple(domains), name not in _ATTRIBUTE_DATA)
      for name, domains in sets
    )
  )
