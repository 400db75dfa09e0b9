"""All scores of a system, by what the styles of its outputs come from."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from absl import logging
from etils import epath

from jaxgan.data import preprocess, shapes, streams
from jaxgan.data.contracts.base import Data
from jaxgan.data.eval_data import EvalData
from jaxgan.data.streams import Stream
from jaxgan.metrics import factors, paired, translations
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.metrics.translations import Score
from jaxgan.runtime import errors, processes, sharding

LATENTS_PER_PAIR = 10
OWN_STYLE = 'own_style'  # a mode of paired scores
_LABEL_OUTPUTS = 10  # of a pair, to show that they are one


class Translator(Protocol):
  """`inference.translator.Translator`, of which this is asked."""

  system: Any
  model: Any

  def translate(
    self, x: np.ndarray, y: np.ndarray, s: np.ndarray | None = None
  ) -> np.ndarray:
    """Images x [N, S, S, 3] as of domains y [N], in styles s [N, ...]."""

  def style(self, y: np.ndarray, **source: np.ndarray) -> np.ndarray:
    """Styles [N, ...] of domains y [N]."""


def evaluate(
  translator: Translator,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
  data: Data,
  *,
  seed: int,
  save_dir: epath.Path,
) -> list[Score]:
  """Scores translations of every source into every other domain.

  Args:
    translator: of the run.
    config: of the run.
    scorer: what to measure, and the networks for it.
    data: real images to compare with, sources and references.
    seed: draws references, latents, and the images of drawn data; of several
      processes, each translates and measures a part.
    save_dir: for the translations, if the scorer's options ask for them.

  Returns:
    shapes/<mode>/<score> where the factors of the data are known;
    paired/<mode>/<score> where `data.paired_names` tells the counterparts; and
    what `translations` measures where there are networks for it. The modes are
    the system's KINDS, of paired scores `paired_modes`.

  Raises:
    UsageError: nothing is to be measured, or saved.
  """
  options, is_drawn = scorer.options, config.data.name == 'shapes'
  by_label = 'label' in translator.system.KINDS
  scores: list[Score] = []
  if is_drawn and by_label:
    scores += evaluate_label_shapes(
      translator,
      config.data.domains,
      img_size=config.data.img_size,
      seed=seed,
    )
  elif is_drawn:
    scores += _evaluate_shapes(translator, config, seed)

  @functools.cache  # opened once, and only where there is a need
  def opened() -> tuple[EvalData, EvalData]:
    return data.evaluation()

  beside_truths = []
  if config.data.paired_names:
    train, val = opened()
    beside_truths = paired.evaluate(
      _create_paired_outputs(translator, train, val, options.num_outputs),
      train,
      val,
      options,
      img_size=config.data.img_size,
      seed=seed,
    )
  # Of one output of a source there are no distances.
  networks = scorer.labels.keys() - ({'lpips'} if by_label else set())
  measured = networks or options.save_images or scores or beside_truths
  if by_label and not measured:
    raise nothing_measured(scorer.unavailable)
  alone = not by_label and (options.shortened or not scores)
  if networks or options.save_images or alone:
    train, val = opened()
    outputs = _create_outputs(translator, val, options.num_outputs)
    for mode, way in outputs.items():
      scores += scorer.score(
        mode,
        way,
        train,
        val,
        img_size=config.data.img_size,
        seed=seed,
        save_dir=save_dir,
      )
  return scores + beside_truths


def nothing_measured(reasons: Sequence[str]) -> errors.UsageError:
  """The error of a system with one output, where no network is there."""
  because = ''.join(f' ({reason})' for reason in reasons)
  return errors.UsageError(
    f'nothing can be measured{because}: ask for a classifier with '
    '--metrics=classification'
  )


def _create_outputs(
  translator: Translator, val: EvalData, count: int
) -> dict[str, translations.Outputs]:
  """A way to translate for each kind of style that the system has."""
  # Not all made: a model without latents has no size of them.
  ways: dict[str, Callable[[], translations.Outputs]] = {
    'latent': lambda: _LatentOutputs(translator, count),
    'reference': lambda: _ReferenceOutputs(translator, val, count),
    'label': lambda: LabelOutputs(translator),
  }
  return {kind: ways[kind]() for kind in translator.system.KINDS}


def paired_modes(system: Any) -> tuple[str, ...]:
  """Modes of paired scores: KINDS, and OWN_STYLE where styles are encoded."""
  encodes = 'reference' in system.KINDS
  return (*system.KINDS, *([OWN_STYLE] if encodes else []))


def _create_paired_outputs(
  translator: Translator, train: EvalData, val: EvalData, count: int
) -> dict[str, translations.Outputs]:
  """A way for each of `paired_modes`; references are no counterparts."""
  outputs = _create_outputs(translator, val, count)
  if OWN_STYLE in paired_modes(translator.system):
    outputs[OWN_STYLE] = _OwnStyleOutputs(translator)
  if 'reference' in outputs:
    references = _TrainingOutputs(translator, train, val, count)
    outputs['reference'] = references
    if missing := references.missing():
      del outputs['reference']
      if processes.is_first():
        logging.warning(
          'All training images of %r have names of validation images, and '
          'references must have others: no paired scores by references',
          missing,
        )
  return outputs


class _LatentOutputs:
  """Translates with new latents for every output."""

  def __init__(self, translator: Translator, count: int):
    self._translator, self._count = translator, count
    self._latent_dim = translator.model.latent_dim

  def draw(
    self, num_sources: int, target: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Latents [num_sources, count, latent_dim]."""
    del target
    shape = (num_sources, self._count, self._latent_dim)
    return rng.standard_normal(shape, np.float32)

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, count, S, S, 3] of sources [N, S, S, 3]."""
    z = drawn.reshape(-1, self._latent_dim)
    s = self._translator.style(np.full(len(z), target), z=z)
    return _translate(self._translator, x, s, target)


class _ReferenceOutputs:
  """Translates with the validation images of the target domain.

  As in the original: they are shuffled into batches, the short last one is
  dropped, each output of a batch of sources takes the next batch, and the order
  goes on from one source domain to the next.
  """

  def __init__(
    self,
    translator: Translator,
    val: EvalData,
    count: int,
  ):
    self._translator, self._val, self._count = translator, val, count
    self._styles: dict[int, np.ndarray] = {}
    self._batches: dict[int, Iterator[np.ndarray]] = {}

  def draw(
    self, num_sources: int, target: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Which of the references: [num_sources, count]."""
    if target not in self._styles:
      self._styles[target] = self._encode(target)
      self._batches[target] = _shuffled(len(self._styles[target]), rng)
    order = []
    for start in range(0, num_sources, translations.BATCH):
      batches = [next(self._batches[target]) for _ in range(self._count)]
      order.append(np.stack(batches, axis=1)[: num_sources - start])
    return np.concatenate(order)

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, count, S, S, 3] of sources [N, S, S, 3]."""
    s = self._styles[target][drawn.reshape(-1)]
    return _translate(self._translator, x, s, target)

  def _encode(self, domain: int) -> np.ndarray:
    """Style codes of all validation images of a domain, [N, style_dim]."""
    count = self._val.counts[domain]
    own = self._val.images(domain, range(count)[sharding.own_part(count)])
    # There may be nothing for this process to do.
    styles = [np.zeros((0, self._translator.model.style_dim), np.float32)]
    while batch := list(itertools.islice(own, translations.BATCH)):
      x = preprocess.to_float(np.stack([pixels for _, pixels in batch]))
      y = np.full(len(batch), domain)
      styles.append(self._translator.style(y, x_ref=x))
    gathered = sharding.gather(np.concatenate(styles))
    if not len(gathered):
      raise errors.UserError(
        f'no validation image of {self._val.domains[domain]!r} can be read'
      )
    return gathered


class _TrainingOutputs:
  """Translates with training images of the target, of other names than any
  held-out image: a counterpart as reference would give the answer away."""

  def __init__(
    self, translator: Translator, train: EvalData, val: EvalData, count: int
  ):
    self._translator, self._train, self._count = translator, train, count
    held_out = {
      val.name(domain, number)
      for domain, num_images in enumerate(val.counts)
      for number in range(num_images)
    }
    self._references = [
      [n for n in range(count) if train.name(domain, n) not in held_out]
      for domain, count in enumerate(train.counts)
    ]

  def missing(self) -> str:
    """The first domain without a reference, or ''."""
    named = zip(self._train.domains, self._references, strict=True)
    return next((name for name, found in named if not found), '')

  def draw(
    self, num_sources: int, target: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Which of the references, those of a source all different if it can be.

    Returns:
      int [num_sources, count].
    """
    known = len(self._references[target])
    again = known < self._count
    drawn = [
      rng.choice(known, self._count, replace=again) for _ in range(num_sources)
    ]
    return np.stack(drawn)

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, count, S, S, 3] of sources [N, S, S, 3]."""
    pixels = [self._read(target, row) for row in drawn.reshape(-1).tolist()]
    y, x_ref = (
      np.full(len(pixels), target),
      preprocess.to_float(np.stack(pixels)),
    )
    s = self._translator.style(y, x_ref=x_ref)
    return _translate(self._translator, x, s, target)

  def _read(self, target: int, row: int) -> np.ndarray:
    """The reference, or the next one that can be read."""
    known = self._references[target]
    for _, pixels in self._train.images(target, known[row:] + known[:row]):
      return pixels
    raise errors.UserError(
      f'no training image of {self._train.domains[target]!r} can be read'
    )


class _OneOutput:
  """One output of a source, for which nothing is drawn."""

  def draw(
    self, num_sources: int, target: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Nothing is drawn: zeros [num_sources, 1]."""
    del target, rng
    return np.zeros((num_sources, 1), np.float32)


class _OwnStyleOutputs(_OneOutput):
  """Translates with the style of the source itself, one output of a source.

  It is encoded as an image of the target domain would be.
  """

  def __init__(self, translator: Translator):
    self._translator = translator

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, 1, S, S, 3] of sources [N, S, S, 3]."""
    del drawn
    s = self._translator.style(np.full(len(x), target), x_ref=x)
    return _translate(self._translator, x, s, target)


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
  """Endless batches of indices; with few images, they come more than once."""
  size = translations.BATCH
  while True:
    order = rng.permutation(count)
    while len(order) < size:
      order = np.concatenate([order, rng.permutation(count)])
    yield from order[: len(order) // size * size].reshape(-1, size)


def _translate(
  translator: Translator, x: np.ndarray, s: np.ndarray, target: int
) -> np.ndarray:
  """Every source [N, ...] with its K of the styles [N * K, style_dim]."""
  count = len(s) // len(x)
  y = np.full(len(s), target)
  fake = translator.translate(x.repeat(count, axis=0), y, s)
  return fake.reshape(len(x), count, *x.shape[1:])


def _evaluate_shapes(
  translator: Translator,
  config: ml_collections.ConfigDict,
  seed: int,
) -> list[Score]:
  """`shapes/{real,reference,latent}/...`, from the images alone."""
  img_size, latent_dim = config.data.img_size, translator.model.latent_dim
  rng = streams.generator(seed, Stream.FACTORS)
  pairs, scores = factors.draw_pairs(rng, config.data.domains, img_size)
  x, y_trg, target, content = pairs

  own = sharding.own_part(len(x))
  references = factors.draw(rng, target)
  own_references = jax.tree.map(lambda f: f[own], references)
  x_ref = preprocess.to_float(shapes.render(own_references, img_size))
  s_ref = translator.style(y_trg[own], x_ref=x_ref)
  measured = factors.measure(translator.translate(x[own], y_trg[own], s_ref))
  scores += factors.score(
    'reference', measured, target, content, references.hue, img_size
  )

  key = jax.random.key(seed)
  z = jax.random.normal(
    key, (len(x) * LATENTS_PER_PAIR, latent_dim), jnp.float32
  )
  repeated = np.repeat(np.arange(len(x)), LATENTS_PER_PAIR)
  own = sharding.own_part(len(z))
  rows = repeated[own]
  s = translator.style(y_trg[rows], z=np.asarray(z[own]))
  measured = factors.measure(translator.translate(x[rows], y_trg[rows], s))
  content = jax.tree.map(lambda f: f[repeated], content)
  scores += factors.score(
    'latent', measured, target[repeated], content, None, img_size
  )
  diversity = shapes_metrics.hue_diversity(
    measured.hue.reshape(len(x), LATENTS_PER_PAIR)
  )
  scores.append(factors.name_score('latent/diversity', diversity, len(z)))
  return scores


class LabelOutputs(_OneOutput):
  """Translates to a label: one output of a source."""

  def __init__(self, translator: Translator, first: int = 0):
    """Counts the domains from the label `first` on."""
    self._translator, self._first = translator, first

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, 1, S, S, 3] of sources [N, S, S, 3]."""
    del drawn
    y = np.full(len(x), self._first + target)
    return self._translator.translate(x, y)[:, None]


def evaluate_label_shapes(
  translator: Translator,
  names: Sequence[str],
  *,
  mode: str = 'label',
  first: int = 0,
  img_size: int,
  seed: int,
) -> list[Score]:
  """`shapes/{real,<mode>}/...`: hue is content here, and is to stay.

  Args:
    translator: of the system.
    names: of the drawn domains, in the order of the run.
    mode: part of the names of the scores.
    first: the label of the first of them.
    img_size: S.
    seed: of the sources.
  """
  rng = streams.generator(seed, Stream.FACTORS)
  (x, y_trg, target, content), scores = factors.draw_pairs(rng, names, img_size)
  own = sharding.own_part(len(x))
  measured = factors.measure(translator.translate(x[own], y_trg[own] + first))
  scores += factors.score(
    mode, measured, target, content, content.hue, img_size
  )
  # As often as where latents are drawn, each time with the same answer.
  hues = measured.hue[:, None].repeat(_LABEL_OUTPUTS, axis=1)
  diversity = shapes_metrics.hue_diversity(hues)
  scores.append(factors.name_score(f'{mode}/diversity', diversity, len(x)))
  return scores
