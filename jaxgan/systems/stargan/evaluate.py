"""Scores of a trained StarGAN, of each of its data sets."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import crops, preprocess, shapes, streams
from jaxgan.data import labelled as labelled_lib
from jaxgan.data.contracts.labelled import Data, Picks
from jaxgan.data.eval_data import EvalData
from jaxgan.data.feeding import HostFeed
from jaxgan.data.labels import Labels, LabelSet, find_labels
from jaxgan.data.streams import Stream
from jaxgan.inference.translator import Translator
from jaxgan.metrics import (
  classification,
  evaluate,
  factors,
  paired,
  translations,
)
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.metrics.translations import Score
from jaxgan.runtime import errors, files, images, sharding
from jaxgan.systems.stargan import step
from jaxgan.systems.stargan.sample import known_labels

_MODES = ('label', 'joint_label')  # of the data sets, in the names of scores


def scores(
  translator: Translator,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
  data: Data,
  *,
  seed: int,
  save_dir: epath.Path,
) -> list[Score]:
  """Scores translations of the validation images of every data set.

  Args:
    translator: of the run.
    config: of the run.
    scorer: what to measure, and the networks for it.
    data: real images and sources, of every data set.
    seed: draws the images of drawn data; of several processes, each translates
      and measures a part.
    save_dir: for the translations, if the scorer's options ask for them.

  Returns:
    shapes/label/<score> where the factors of the data are known (of a second
    data set shapes/joint_label/<score>, and so on); what
    `translations` measures between domains; and for attributes, if it is asked
    for, classification_error/label/<attribute>, the share of images that do not
    show the attribute that was asked for, and classification_floor/..., that of
    real images in which the classifier errs.

  Raises:
    UserError: the data has other labels than the run.
    UsageError: nothing is to be measured, or what is asked for cannot be.
  """
  labels, options = translator.model.labels, scorer.options
  if find_labels(config) != labels:
    raise errors.UserError(
      'the data has labels of another kind than those of the run: give the '
      'config of the run, or data of the same kind'
    )
  _check_options(labels, options)
  found: list[Score] = []
  for index, labelled in enumerate(labels.sets):
    found += _score_drawn(translator, index, config, seed)
    if options.domains and not set(options.domains) & set(labelled.names):
      continue
    if not labelled.exclusive:
      if 'classification' in options.metrics:
        found += _score_attributes(translator, index, config, scorer)
      continue
    train, val = data.evaluation(index)
    outputs = evaluate.LabelOutputs(translator, labels.span(index).start)
    if config.data.paired_names:
      found += paired.evaluate(
        {_MODES[index]: outputs},
        train,
        val,
        options,
        img_size=config.data.img_size,
        seed=seed,
      )
    if scorer.labels.keys() - {'lpips'} or options.save_images:
      found += scorer.score(
        _MODES[index],
        outputs,
        train,
        val,
        img_size=config.data.img_size,
        seed=seed,
        save_dir=save_dir,
      )
  if not found and not options.save_images:
    between_domains = any(labelled.exclusive for labelled in labels.sets)
    raise evaluate.nothing_measured(
      scorer.unavailable if between_domains else ()
    )
  return found


def _check_options(labels: Labels, options: translations.Options) -> None:
  """Raises UsageError for what cannot be measured, or saved."""
  if options.save_images and not any(s.exclusive for s in labels.sets):
    raise errors.UsageError(
      '--save_images is of domains, and this run has attributes: see '
      'python -m jaxgan.tools.translate'
    )
  for labelled in labels.sets:
    names = [name for name in labelled.names if name in options.domains]
    if labelled.exclusive and len(names) == 1:
      raise errors.UsageError(
        f'--domains names {names[0]} alone of its data set: name two or more'
      )


def _score_drawn(
  translator: Translator,
  index: int,
  config: ml_collections.ConfigDict,
  seed: int,
) -> list[Score]:
  """`shapes/...` of a data set that is drawn; of another one nothing."""
  labels, img_size = translator.model.labels, config.data.img_size
  name = config.data.joint_name if index else config.data.name
  if name == 'shapes':
    return evaluate.evaluate_label_shapes(
      translator,
      labels.sets[index].names,
      mode=_MODES[index],
      first=labels.span(index).start,
      img_size=img_size,
      seed=seed,
    )
  if name == 'shapes_attributes':
    return _score_drawn_attributes(translator, index, img_size, seed)
  return []


def _score_drawn_attributes(
  translator: Translator, index: int, img_size: int, seed: int
) -> list[Score]:
  """`shapes/label/...` of every source with each attribute turned over."""
  labels, num = translator.model.labels, len(shapes.ATTRIBUTES)
  rng = streams.generator(seed, Stream.FACTORS)
  sources = shapes.draw_attributes(rng, -(-factors.MIN_PAIRS // num))
  count = len(sources.hue)
  target = np.arange(num).repeat(count)
  content = jax.tree.map(lambda f: np.concatenate([f] * num), sources)
  c_org = shapes.attributes_of(content)
  asked = np.abs(c_org - np.eye(num, dtype=np.float32)[target])

  own = sharding.own_part(len(target))
  drawn = jax.tree.map(lambda f: f[own], content)
  x = preprocess.to_float(shapes.render(drawn, img_size))
  c_trg = np.asarray(labels.complete(index, jnp.asarray(asked[own])))
  fakes = translator.apply(step.generate, target[own], x, c_trg)
  measured = factors.measure(fakes, outlines=True)
  results = shapes_metrics.compute_attribute_scores(
    measured,
    target=target,
    attributes=asked,
    content=content,
    img_size=img_size,
  )
  found = [
    factors.name_score(f'{_MODES[index]}/{name}', value, len(target))
    for name, value in results.items()
  ]
  shown = shapes.attributes_of(measured) == asked
  shown &= (measured.domain >= 0)[:, None]
  for i, name in enumerate(shapes.ATTRIBUTES):
    value = float(shown[target == i, i].mean())
    found.append(
      factors.name_score(f'{_MODES[index]}/accuracy_{name}', value, count)
    )
  return found


def _score_attributes(
  translator: Translator,
  index: int,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
) -> list[Score]:
  """Errors of a classifier in what each attribute, turned over, became."""
  options, data = scorer.options, config.data
  train, val = (
    labelled_lib.open_set(config, split, index)
    for split in (data.train_split, data.val_split)
  )
  params = _load_classifier(train, config, options)
  count = options.num_sources or val.images.counts[0]
  seen = EvalData(val.images, data.skip_bad_images)
  # There may be nothing for this process to do.
  real, fake = ([np.zeros((0, len(val.labels.names)), bool)] for _ in 'rf')
  for pixels, c in _batches(val, seen, min(count, val.images.counts[0])):
    real.append((classification.predict(params, pixels) > 0) != (c > 0))
    fake.append(_errors_in_targets(translator, index, params, pixels, c))
  return [
    *_name_errors('classification_error', index, fake, val.labels, options),
    *_name_errors('classification_floor', index, real, val.labels, options),
  ]


def _load_classifier(
  train: labelled_lib.LabelledImages,
  config: ml_collections.ConfigDict,
  options: translations.Options,
) -> classification.Params:
  """Parameters of the classifier of these images and these attributes."""
  names, images = train.labels.names, train.images
  known = np.stack([train.label(0, i) for i in range(images.counts[0])])
  digests = images.digest(0), hashlib.sha256(known.tobytes()).hexdigest()
  return classification.load_or_train(
    _Draws(train, config.data.img_size, config.data.skip_bad_images),
    len(names),
    exclusive=False,
    img_size=config.data.img_size,
    content=f'{" ".join(digests)} {names}',
    cache_dir=options.cache_dir or files.default_cache_dir(),
  )


def _errors_in_targets(
  translator: Translator,
  index: int,
  params: classification.Params,
  pixels: np.ndarray,
  c: np.ndarray,
) -> np.ndarray:
  """Whether a target is not seen in the translation to it, bool [N, C].

  Args:
    translator: of the run.
    index: of the data set.
    params: of the classifier.
    pixels: sources, uint8 [N, S, S, 3].
    c: the attributes they have, [N, C].
  """
  labels, x = translator.model.labels, preprocess.to_float(pixels)
  span, own = labels.span(index), known_labels(translator, index, x, c)
  targets = np.arange(span.start, span.stop)
  seen = []
  for i, target in enumerate(targets):
    y = np.full(len(x), target, np.int32)
    fakes = translator.apply(step.translate_known, y, x, own)
    seen.append(classification.predict(params, fakes)[:, i] > 0)
  # A hair colour is set, whatever there was; others are turned over.
  is_set = labels.codes[targets, targets] == 1
  return np.stack(seen, axis=1) != (is_set | (c == 0))


def _name_errors(
  metric: str,
  index: int,
  parts: Sequence[np.ndarray],
  labels: LabelSet,
  options: translations.Options,
) -> list[Score]:
  """Shares of errors, bool [N, C] in parts, by attribute and of all."""
  values = sharding.gather(np.concatenate(parts))
  if not len(values):
    raise errors.UserError('no validation image can be read')
  names = labels.names
  wanted = [n for n in names if not options.domains or n in options.domains]
  values = values[:, [names.index(name) for name in wanted]]
  return [
    Score(
      f'{metric}/{_MODES[index]}/{name}',
      float(wrong.mean()),
      protocol=options.label,
      weights=classification.LABEL,
      n_fake=len(values),
    )
    for name, wrong in [*zip(wanted, values.T, strict=True), ('mean', values)]
  ]


class _Draws:
  """Training batches of the classifier: any image alike."""

  def __init__(
    self,
    train: labelled_lib.LabelledImages,
    img_size: int,
    skip_bad_images: bool,
  ):
    part = Picks(
      train.images,
      crops.Whole(),
      Stream.ATTRIBUTE_CLASSIFIER,
      ('x',),
      2,
      train.label,
      'c',
    )
    self._feed = HostFeed(
      [part],
      seed=0,
      batch_size=classification.BATCH,
      img_size=img_size,
      skip_bad_images=skip_bad_images,
    )

  def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [B, S, S, 3] and labels [B, C]."""
    slots = [self._feed.slot(step, i) for i in range(classification.BATCH)]
    x, c = (np.stack([slot[key] for slot in slots]) for key in 'xc')
    return images.to_uint8(x), c


def _batches(
  val: labelled_lib.LabelledImages, seen: EvalData, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Images uint8 [N, S, S, 3] and labels [N, C] of this process's part."""
  own = seen.images(0, range(count)[sharding.own_part(count)])
  while batch := list(itertools.islice(own, translations.BATCH)):
    yield (
      np.stack([x for _, x in batch]),
      np.stack([val.label(0, i) for i, _ in batch]),
    )
