"""Scores of a trained StarGAN, of each of its data sets."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
from etils import epath

from jaxgan import errors, files, sharding
from jaxgan.data import input_pipeline, pictures, preprocess, shapes
from jaxgan.metrics import classification, factors, translations
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.metrics.translations import Score
from jaxgan.stargan import data as data_lib
from jaxgan.stargan import losses, networks
from jaxgan.stargan.labels import Labels
from jaxgan.stargan.sample import Translator

Tree = Any

MODE = 'label'  # in the names of scores
_OUTPUTS = 10  # of a pair, to show that they are one
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
    shapes/label/<score> where the factors of the data are known; what
    `translations` measures between domains; and for attributes, if it is asked
    for, classification_error/label/<attribute>, the share of images that do not
    show the attribute that was asked for, and classification_floor/..., that of
    real images in which the classifier errs.
  """
  del frozen, hp, tx
  translator = Translator(
    params, {}, nets=nets, labels=labels, chunk=translations.BATCH
  )
  scores: list[Score] = []
  for index, labelled in enumerate(labels.sets):
    name = config.data.joint_name if index else config.data.name
    if name == 'shapes':
      scores += _evaluate_shapes(translator, labels, index, config, seed)
    elif name == 'shapes_attributes':
      scores += _evaluate_drawn_attributes(
        translator, labels, index, config, seed
      )
    options = scorer.options
    if labelled.exclusive:
      if (
        scorer.labels or options.shortened or options.save_images or not scores
      ):
        scores += _evaluate_domains(
          translator, labels, index, config, scorer, seed, save_dir
        )
    elif 'classification' in options.metrics:
      scores += _evaluate_attributes(translator, labels, index, config, scorer)
  if not scores:
    raise errors.UsageError(
      'attributes are scored by a classifier: ask for it with '
      '--metrics=classification'
    )
  return scores


class _LabelOutputs:
  """Translates to a domain: one output of a source."""

  def __init__(self, translator: Translator, first: int):
    self._translator, self._first = translator, first

  def draw(
    self, num_sources: int, target: int, rng: np.random.Generator
  ) -> np.ndarray:
    """Nothing is drawn: zeros [num_sources, 1]."""
    del target, rng
    return np.zeros((num_sources, 1), np.float32)

  def translate(
    self, x: np.ndarray, drawn: np.ndarray, target: int
  ) -> np.ndarray:
    """Outputs [N, 1, S, S, 3] of sources [N, S, S, 3]."""
    del drawn
    code = self._translator.label_styles(np.array([self._first + target]))
    return self._translator.translate_all(x, code)[0][:, None]


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
  data = config.data
  skip = data.skip_bad_images
  train, val = (
    input_pipeline.EvalData(
      data_lib.open_set(config, split, index).images, skip
    )
    for split in (data.train_split, data.val_split)
  )
  return scorer.score(
    MODE,
    _LabelOutputs(translator, labels.span(index).start),
    train,
    val,
    img_size=data.img_size,
    seed=seed,
    save_dir=save_dir,
  )


def _evaluate_shapes(
  translator: Translator,
  labels: Labels,
  index: int,
  config: ml_collections.ConfigDict,
  seed: int,
) -> list[Score]:
  """`shapes/{real,label}/...`: hue is content here, and is to stay."""
  img_size = config.data.img_size
  rng = np.random.Generator(np.random.Philox(key=[seed, 3]))
  names = labels.sets[index].names
  (x, y_trg, target, content), scores = factors.draw_pairs(rng, names, img_size)
  own = sharding.own_part(len(x))
  codes = translator.label_styles(y_trg[own] + labels.span(index).start)
  fake = translator.translate(x[own], codes)
  measured = factors.measure(fake)
  scores += factors.score(
    MODE, measured, target, content, content.hue, img_size
  )
  # As often as StarGAN v2 is asked, each time with the same answer.
  hues = measured.hue[:, None].repeat(_OUTPUTS, axis=1)
  diversity = shapes_metrics.hue_diversity(hues)
  scores.append(factors.name_score(f'{MODE}/diversity', diversity, len(x)))
  return scores


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
    factors.name_score(f'{MODE}/{name}', value, len(target))
    for name, value in results.items()
  ]
  shown = shapes.attributes_of(measured) == asked
  shown &= (measured.domain >= 0)[:, None]
  for i, name in enumerate(shapes.ATTRIBUTES):
    value = float(shown[target == i, i].mean())
    scores.append(factors.name_score(f'{MODE}/accuracy_{name}', value, count))
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
    data_lib.open_set(config, split, index)
    for split in (data.train_split, data.val_split)
  )
  names = labels.sets[index].names
  params = classification.load_or_train(
    _Draws(train),
    len(names),
    exclusive=False,
    img_size=data.img_size,
    content=f'{train.images.digest(0)} {names}',
    cache_dir=options.cache_dir or files.default_cache_dir(),
  )
  start = labels.span(index).start
  codes = translator.label_styles(np.arange(start, start + len(names)))
  count = options.num_sources or val.images.counts[0]
  seen, known, shown = [], [], []
  for x, c in _batches(val, min(count, val.images.counts[0])):
    seen.append(classification.predict(params, x) > 0)
    known.append(c > 0)
    own = translator.estimate(preprocess.to_float(x))
    own[:, labels.span(index)] = c
    fakes = translator.translate_all(preprocess.to_float(x), codes, own)
    shown.append(
      np.stack(
        [
          classification.predict(params, fake)[:, i] > 0
          for i, fake in enumerate(fakes)
        ],
        axis=1,
      )
    )
  wrong_real, wrong = [], []
  codes = codes[:, labels.span(index)]
  for real, c, fake in zip(seen, known, shown, strict=True):
    wrong_real.append(real != c)
    # What attribute i of an image became when it was the target.
    asked = np.where(np.diag(codes) == 1, True, ~c)
    wrong.append(fake != asked)
  scores = []
  for metric, parts in (
    ('classification_error', wrong),
    ('classification_floor', wrong_real),
  ):
    values = sharding.gather(np.concatenate(parts))
    for i, name in enumerate(names):
      scores.append(_classified(f'{metric}/{MODE}/{name}', values[:, i]))
    scores.append(_classified(f'{metric}/{MODE}/mean', values))
  return scores


def _classified(name: str, wrong: np.ndarray) -> Score:
  return Score(
    name,
    float(wrong.mean()),
    protocol='classifier',
    weights=classification.LABEL,
    n_fake=len(wrong),
  )


class _Draws:
  """Training batches of the classifier: any image alike."""

  def __init__(self, train: data_lib.LabelledImages):
    self._train = train

  def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [B, S, S, 3] and labels [B, C]."""
    drawn = [
      self._train.draw(pictures.stream(0, _CLASSIFIER_ROLE, 0, slot, step))
      for slot in range(classification.BATCH)
    ]
    x, c = zip(*drawn, strict=True)
    return np.stack(x), np.stack(c)


def _batches(
  val: data_lib.LabelledImages, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Images uint8 [N, S, S, 3] and labels [N, C] of this process's part."""
  numbers = range(count)[sharding.own_part(count)]
  for start in range(0, len(numbers), translations.BATCH):
    part = numbers[start : start + translations.BATCH]
    yield (
      np.stack([val.images.get(0, i) for i in part]),
      np.stack([val.label(0, i) for i in part]),
    )
