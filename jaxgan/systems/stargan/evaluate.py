"""Scores of a trained StarGAN, of each of its data sets."""

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan.data import pictures, preprocess, shapes
from jaxgan.data.contracts import domains_ref
from jaxgan.metrics import classification, factors, styles, translations
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.metrics.translations import Score
from jaxgan.runtime import errors, files, sharding
from jaxgan.systems.stargan import data as data_lib
from jaxgan.systems.stargan import labelled as labelled_lib
from jaxgan.systems.stargan import losses, networks
from jaxgan.systems.stargan.config import find_labels
from jaxgan.systems.stargan.labels import Labels
from jaxgan.systems.stargan.sample import Translator

Tree = Any

_MODES = ('label', 'joint_label')  # of the data sets, in the names of scores
_CLASSIFIER_ROLE = 9  # of random streams


def evaluate(
  params: Mapping[str, Tree],
  frozen: Tree,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
  *,
  seed: int,
  save_dir: epath.Path,
  nets: networks.Networks,
  labels: Labels,
  hp: losses.HParams | None = None,
  tx: Any = None,
) -> list[Score]:
  """Scores translations of the validation images of every data set.

  Args:
    params: of `inference_params`.
    frozen: not used.
    config: of the run.
    scorer: what to measure, and the networks for it.
    seed: draws the images of drawn data; of several processes, each translates
      and measures a part.
    save_dir: for the translations, if the scorer's options ask for them.
    nets: the modules.
    labels: of the data sets.
    hp: not used.
    tx: not used.

  Returns:
    shapes/label/<score> where the factors of the data are known (of a second
    data set shapes/joint_label/<score>, and so on); what
    `translations` measures between domains; and for attributes, if it is asked
    for, classification_error/label/<attribute>, the share of images that do not
    show the attribute that was asked for, and classification_floor/..., that of
    real images in which the classifier errs.
  """
  del frozen, hp, tx
  options = scorer.options
  if find_labels(config) != labels:
    raise errors.UserError(
      'the data has labels of another kind than those of the run: give the '
      'config of the run, or data of the same kind'
    )
  translator = Translator(
    params, {}, nets=nets, labels=labels, chunk=translations.BATCH
  )
  scores: list[Score] = []
  any_domains = any(labelled.exclusive for labelled in labels.sets)
  if options.save_images and not any_domains:
    raise errors.UsageError(
      '--save_images is of domains, and this run has attributes: see '
      'python -m jaxgan.tools.translate'
    )
  wanted = [
    [n for n in labelled.names if n in options.domains]
    for labelled in labels.sets
  ]
  for labelled, names in zip(labels.sets, wanted, strict=True):
    if labelled.exclusive and len(names) == 1:
      raise errors.UsageError(
        f'--domains names {names[0]} alone of its data set: name two or more'
      )
  for index, labelled in enumerate(labels.sets):
    name = config.data.joint_name if index else config.data.name
    if name == 'shapes':
      scores += styles.evaluate_label_shapes(
        translator,
        labelled.names,
        mode=_MODES[index],
        first=labels.span(index).start,
        img_size=config.data.img_size,
        seed=seed,
      )
    elif name == 'shapes_attributes':
      scores += _evaluate_drawn_attributes(
        translator, labels, index, config, seed
      )
    if options.domains and not wanted[index]:
      continue
    if not labelled.exclusive:
      if 'classification' in options.metrics:
        scores += _evaluate_attributes(
          translator, labels, index, config, scorer
        )
    elif scorer.labels.keys() - {'lpips'} or options.save_images:
      scores += _evaluate_domains(
        translator, labels, index, config, scorer, seed, save_dir
      )
  if not scores and not options.save_images:
    reasons = ''.join(f' ({reason})' for reason in scorer.left_out)
    if not any_domains:
      reasons = ''
    raise errors.UsageError(
      f'nothing can be measured{reasons}: ask for a classifier with '
      '--metrics=classification'
    )
  return scores


def _evaluate_domains(
  translator: Translator,
  labels: Labels,
  index: int,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
  seed: int,
  save_dir: epath.Path,
) -> list[Score]:
  """What `translations` measures between the domains of a data set."""
  return scorer.score(
    _MODES[index],
    styles.LabelOutputs(translator, labels.span(index).start),
    *data_lib.create_eval_data(config, index),
    img_size=config.data.img_size,
    seed=seed,
    save_dir=save_dir,
  )


def _evaluate_drawn_attributes(
  translator: Translator,
  labels: Labels,
  index: int,
  config: ml_collections.ConfigDict,
  seed: int,
) -> list[Score]:
  """`shapes/label/...` of every source with each attribute turned over."""
  img_size, num = config.data.img_size, len(shapes.ATTRIBUTES)
  rng = np.random.Generator(np.random.Philox(key=[seed, 3]))
  sources = shapes.draw_attributes(rng, -(-factors.MIN_PAIRS // num))
  count = len(sources.hue)
  target = np.arange(num).repeat(count)
  content = jax.tree.map(lambda f: np.concatenate([f] * num), sources)
  c_org = shapes.attributes_of(content)
  asked = np.abs(c_org - np.eye(num, dtype=np.float32)[target])

  own = sharding.own_part(len(target))
  drawn = jax.tree.map(lambda f: f[own], content)
  x = preprocess.to_float(shapes.render(drawn, img_size))
  c_trg = np.asarray(labels.complete(index, jax.numpy.asarray(asked[own])))
  measured = factors.measure(translator.translate(x, c_trg), outlines=True)
  results = shapes_metrics.compute_attribute_scores(
    measured,
    target=target,
    attributes=asked,
    content=content,
    img_size=img_size,
  )
  scores = [
    factors.name_score(f'{_MODES[index]}/{name}', value, len(target))
    for name, value in results.items()
  ]
  shown = shapes.attributes_of(measured) == asked
  shown &= (measured.domain >= 0)[:, None]
  for i, name in enumerate(shapes.ATTRIBUTES):
    value = float(shown[target == i, i].mean())
    scores.append(
      factors.name_score(f'{_MODES[index]}/accuracy_{name}', value, count)
    )
  return scores


def _evaluate_attributes(
  translator: Translator,
  labels: Labels,
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
  names = labels.sets[index].names
  known = np.stack([train.label(0, i) for i in range(train.images.counts[0])])
  digests = train.images.digest(0), hashlib.sha256(known.tobytes()).hexdigest()
  params = classification.load_or_train(
    _Draws(train, data.skip_bad_images),
    len(names),
    exclusive=False,
    img_size=data.img_size,
    content=f'{" ".join(digests)} {names}',
    cache_dir=options.cache_dir or files.default_cache_dir(),
  )
  start = labels.span(index).start
  codes = translator.label_styles(np.arange(start, start + len(names)))
  turned_on = np.diag(codes[:, labels.span(index)]) == 1  # else turned over
  count = options.num_sources or val.images.counts[0]
  # There may be nothing for this process to do.
  real_parts, fake_parts = ([np.zeros((0, len(names)), bool)] for _ in 'rf')
  seen = domains_ref.EvalData(val.images, data.skip_bad_images)
  for pixels, c in _batches(val, seen, min(count, val.images.counts[0])):
    real_parts.append((classification.predict(params, pixels) > 0) != (c > 0))
    x = preprocess.to_float(pixels)
    own = translator.estimate(x)
    own[:, labels.span(index)] = c
    fakes = translator.translate_all(x, codes, own)
    # What attribute i of an image became when it was the target.
    seen_in = [
      classification.predict(params, fake)[:, i] > 0
      for i, fake in enumerate(fakes)
    ]
    fake_parts.append(np.stack(seen_in, axis=1) != (turned_on | (c == 0)))
  scores = []
  for metric, parts in (
    ('classification_error', fake_parts),
    ('classification_floor', real_parts),
  ):
    values = sharding.gather(np.concatenate(parts))
    if not len(values):
      raise errors.UserError('no validation image can be read')
    shown = [n for n in names if not options.domains or n in options.domains]
    values = values[:, [names.index(name) for name in shown]]
    for name, wrong in [*zip(shown, values.T, strict=True), ('mean', values)]:
      scores.append(
        Score(
          f'{metric}/{_MODES[index]}/{name}',
          float(wrong.mean()),
          protocol=options.label,
          weights=classification.LABEL,
          n_fake=len(values),
        )
      )
  return scores


class _Draws:
  """Training batches of the classifier: any image alike."""

  def __init__(self, train: labelled_lib.LabelledImages, skip_bad_images: bool):
    self._train = train
    self._skips = pictures.Skips(skip_bad_images)

  def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [B, S, S, 3] and labels [B, C]."""
    drawn = [
      pictures.first_readable(
        lambda rng, late: self._train.draw(rng),
        0,
        _CLASSIFIER_ROLE,
        slot,
        step,
        self._skips,
        self._train.images.domains[0],
      )
      for slot in range(classification.BATCH)
    ]
    x, c = zip(*drawn, strict=True)
    return np.stack(x), np.stack(c)


def _batches(
  val: labelled_lib.LabelledImages, seen: domains_ref.EvalData, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Images uint8 [N, S, S, 3] and labels [N, C] of this process's part."""
  own = seen.images(0, range(count)[sharding.own_part(count)])
  while batch := list(itertools.islice(own, translations.BATCH)):
    yield (
      np.stack([x for _, x in batch]),
      np.stack([val.label(0, i) for i, _ in batch]),
    )
