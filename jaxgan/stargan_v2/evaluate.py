"""Scores of a trained StarGAN v2."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan import errors, images
from jaxgan.data import preprocess, shapes
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.stargan_v2 import losses, networks
from jaxgan.stargan_v2.sample import Translator

Tree = Any

MIN_PAIRS = 1000  # of a source and another domain
LATENTS_PER_PAIR = 10


def evaluate(
  params: Mapping[str, Tree],
  frozen: Tree,
  config: ml_collections.ConfigDict,
  *,
  nets: networks.Networks,
  hp: losses.HParams,
  masks_fn: Any = None,
  tx: Any = None,
) -> dict[str, float | None]:
  """Scores translations of every source into every other domain.

  Args:
    params: of `inference_params`.
    frozen: parameters of frozen networks.
    config: of the run; its seed draws sources, references and latents.
    nets: the modules.
    hp: for the size of a latent.
    masks_fn: (frozen, images) -> masks, where w_hpf > 0.
    tx: not used.

  Returns:
    {'shapes/<mode>/<score>': value}, None where nothing could be measured.

  Raises:
    UserError: the data set has no known factors.
  """
  del tx
  if config.data.name != 'shapes':
    raise errors.UserError(
      f'no scores for data set {config.data.name!r} yet: eval.py measures '
      "data with known factors, config.data.name = 'shapes'"
    )
  translator = Translator(
    params, frozen, nets=nets, masks_fn=masks_fn, chunk=64
  )
  return _evaluate_shapes(translator, config, hp.latent_dim)


def _evaluate_shapes(
  translator: Translator, config: ml_collections.ConfigDict, latent_dim: int
) -> dict[str, float | None]:
  """`shapes/{real,reference,latent}/...`, from the images alone."""
  img_size = config.data.img_size
  names = list(config.data.domains)
  domains = [shapes.DOMAINS.index(name) for name in names]
  # Another stream than those of `input_pipeline` (0 to 2).
  rng = np.random.Generator(np.random.Philox(key=[config.seed, 3]))
  per_domain = -(-MIN_PAIRS // (len(names) * max(1, len(names) - 1)))
  sources = _draw(rng, np.repeat(domains, per_domain))
  x_src = shapes.render(sources, img_size)
  measured = shapes_metrics.measure(x_src)
  scores = _scores(
    'real', measured, sources.domain, sources, sources.hue, img_size
  )

  # Every source with every other domain; with the only one if it is alone.
  y_src = np.repeat(np.arange(len(names)), per_domain)
  pairs = [
    (i, y)
    for i in range(len(x_src))
    for y in range(len(names))
    if y != y_src[i] or len(names) == 1
  ]
  source, y_trg = np.array(pairs).T
  x = preprocess.to_float(x_src[source])
  target = np.array(domains)[y_trg]
  content = jax.tree.map(lambda f: f[source], sources)

  references = _draw(rng, target)
  x_ref = preprocess.to_float(shapes.render(references, img_size))
  s_ref = translator.encode(x_ref, y_trg)
  fake = images.to_uint8(translator.translate(x, s_ref))
  measured = shapes_metrics.measure(fake)
  scores |= _scores(
    'reference', measured, target, content, references.hue, img_size
  )

  key = jax.random.key(config.seed)
  z = jax.random.normal(
    key, (len(pairs) * LATENTS_PER_PAIR, latent_dim), jnp.float32
  )
  repeated = np.repeat(np.arange(len(pairs)), LATENTS_PER_PAIR)
  s = translator.map(z)[np.arange(len(z)), y_trg[repeated]]
  fake = images.to_uint8(translator.translate(x[repeated], s))
  measured = shapes_metrics.measure(fake)
  content = jax.tree.map(lambda f: f[repeated], content)
  scores |= _scores(
    'latent', measured, target[repeated], content, None, img_size
  )
  scores['shapes/latent/diversity'] = shapes_metrics.hue_diversity(
    measured.hue.reshape(len(pairs), LATENTS_PER_PAIR)
  )
  return scores


def _draw(rng: np.random.Generator, domains: np.ndarray) -> shapes.Factors:
  """Factors of one image per entry of `domains` [N]."""
  drawn = [shapes.draw_factors(rng, int(domain), 1) for domain in domains]
  return shapes.Factors(*(np.concatenate(f) for f in zip(*drawn, strict=True)))


def _scores(
  mode: str,
  measured: shapes_metrics.Measured,
  target: np.ndarray,
  content: shapes.Factors,
  hue: np.ndarray | None,
  img_size: int,
) -> dict[str, float | None]:
  scores = shapes_metrics.compute_scores(
    measured, domain=target, content=content, hue=hue, img_size=img_size
  )
  return {f'shapes/{mode}/{name}': value for name, value in scores.items()}
