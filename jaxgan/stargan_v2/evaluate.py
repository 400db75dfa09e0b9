"""Scores of a trained StarGAN v2."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath

from jaxgan import errors, sharding
from jaxgan.data import input_pipeline, preprocess, shapes
from jaxgan.metrics import factors, translations
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.metrics.translations import Score
from jaxgan.stargan_v2 import losses, networks
from jaxgan.stargan_v2.sample import Translator

Tree = Any

LATENTS_PER_PAIR = 10


def evaluate(
  params: Mapping[str, Tree],
  frozen: Tree,
  config: ml_collections.ConfigDict,
  scorer: translations.Scorer,
  *,
  seed: int,
  save_dir: epath.Path,
  nets: networks.Networks,
  hp: losses.HParams,
  masks_fn: Any = None,
  tx: Any = None,
) -> list[Score]:
  """Scores translations of every source into every other domain.

  Args:
    params: of `inference_params`.
    frozen: parameters of frozen networks.
    config: of the run.
    scorer: what to measure, and the networks for it.
    seed: draws references, latents, and the images of drawn data; of several
      processes, each translates and measures a part.
    save_dir: for the translations, if the scorer's options ask for them.
    nets: the modules.
    hp: for the size of a latent.
    masks_fn: (frozen, images) -> masks, where w_hpf > 0.
    tx: not used.

  Returns:
    shapes/<mode>/<score> where the factors of the data are known, and what
    `translations` measures where there are networks for it, or nothing else.
  """
  del tx
  translator = Translator(
    params, frozen, nets=nets, masks_fn=masks_fn, chunk=translations.BATCH
  )
  scores = []
  if config.data.name == 'shapes':
    scores += _evaluate_shapes(translator, config, hp.latent_dim, seed)
  options = scorer.options
  if scorer.labels or options.shortened or options.save_images or not scores:
    train, val = input_pipeline.create_eval_data(config)
    count = options.num_outputs
    style_dim = nets.style_encoder.style_dim
    for mode, outputs in (
      ('latent', _LatentOutputs(translator, hp.latent_dim, count)),
      ('reference', _ReferenceOutputs(translator, val, count, style_dim)),
    ):
      scores += scorer.score(
        mode,
        outputs,
        train,
        val,
        img_size=config.data.img_size,
        seed=seed,
        save_dir=save_dir,
      )
  return scores


class _LatentOutputs:
  """Translates with new latents for every output."""

  def __init__(self, translator: Translator, latent_dim: int, count: int):
    self._translator = translator
    self._latent_dim, self._count = latent_dim, count

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
    s = self._translator.map(drawn.reshape(-1, self._latent_dim))
    return _translate(self._translator, x, s[:, target])


class _ReferenceOutputs:
  """Translates with the validation images of the target domain.

  As in the original: they are shuffled into batches, the short last one is
  dropped, each output of a batch of sources takes the next batch, and the order
  goes on from one source domain to the next.
  """

  def __init__(
    self,
    translator: Translator,
    val: input_pipeline.EvalData,
    count: int,
    style_dim: int,
  ):
    self._translator, self._val = translator, val
    self._count, self._style_dim = count, style_dim
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
    return _translate(
      self._translator, x, self._styles[target][drawn.reshape(-1)]
    )

  def _encode(self, domain: int) -> np.ndarray:
    """Style codes of all validation images of a domain, [N, style_dim]."""
    count = self._val.counts[domain]
    own = self._val.images(domain, range(count)[sharding.own_part(count)])
    styles = [np.zeros((0, self._style_dim), np.float32)]
    while batch := list(itertools.islice(own, translations.BATCH)):
      x = preprocess.to_float(np.stack([pixels for _, pixels in batch]))
      y = np.full(len(batch), domain)
      styles.append(self._translator.encode(x, y))
    gathered = sharding.gather(np.concatenate(styles))
    if not len(gathered):
      raise errors.UserError(
        f'no validation image of {self._val.domains[domain]!r} can be read'
      )
    return gathered


def _shuffled(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
  """Endless batches of indices; with few images, they come more than once."""
  size = translations.BATCH
  while True:
    order = rng.permutation(count)
    while len(order) < size:
      order = np.concatenate([order, rng.permutation(count)])
    yield from order[: len(order) // size * size].reshape(-1, size)


def _translate(
  translator: Translator, x: np.ndarray, s: np.ndarray
) -> np.ndarray:
  """Every source [N, ...] with its K of the styles [N * K, style_dim]."""
  count = len(s) // len(x)
  fake = translator.translate(x.repeat(count, axis=0), s)
  return fake.reshape(len(x), count, *x.shape[1:])


def _evaluate_shapes(
  translator: Translator,
  config: ml_collections.ConfigDict,
  latent_dim: int,
  seed: int,
) -> list[Score]:
  """`shapes/{real,reference,latent}/...`, from the images alone."""
  img_size = config.data.img_size
  # Another stream than those of `pictures`.
  rng = np.random.Generator(np.random.Philox(key=[seed, 3]))
  pairs, scores = factors.draw_pairs(rng, config.data.domains, img_size)
  x, y_trg, target, content = pairs

  own = sharding.own_part(len(x))
  references = factors.draw(rng, target)
  own_references = jax.tree.map(lambda f: f[own], references)
  x_ref = preprocess.to_float(shapes.render(own_references, img_size))
  s_ref = translator.encode(x_ref, y_trg[own])
  measured = factors.measure(translator.translate(x[own], s_ref))
  scores += factors.score(
    'reference', measured, target, content, references.hue, img_size
  )

  key = jax.random.key(seed)
  z = jax.random.normal(
    key, (len(x) * LATENTS_PER_PAIR, latent_dim), jnp.float32
  )
  repeated = np.repeat(np.arange(len(x)), LATENTS_PER_PAIR)
  own = sharding.own_part(len(z))
  s = translator.map(z[own])
  s = s[np.arange(len(s)), y_trg[repeated[own]]]
  measured = factors.measure(translator.translate(x[repeated[own]], s))
  content = jax.tree.map(lambda f: f[repeated], content)
  scores += factors.score(
    'latent', measured, target[repeated], content, None, img_size
  )
  diversity = shapes_metrics.hue_diversity(
    measured.hue.reshape(len(x), LATENTS_PER_PAIR)
  )
  scores.append(factors.name_score('latent/diversity', diversity, len(z)))
  return scores
