"""Compares the project with numbers measured on the original PyTorch code.

  python -m tests.parity FILE.npz ...

prints a row per group of arrays with the worst error and the array it is in; a
block of rows for each way of computing the same (`WAYS`).
Exit status 1 if an error is over its limit or an array was not compared, 2 if a
file is of no known kind. Known are files with a `config`, whole training
iterations, compared in float64; and on weights made by a rule, in float32,
forward passes of the real networks at 256 px, and metrics.
"""

import dataclasses
import functools
import json
import pathlib
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import linen as nn
from PIL import Image

from jaxgan.data import preprocess
from jaxgan.metrics import features, fid, inception, lpips
from jaxgan.nets import layers
from jaxgan.pytorch import convert, torch_params
from jaxgan.systems.stargan_v2 import (
  align,
  losses,
  networks,
  step,
  wing,
)
from jaxgan.systems.stargan_v2.config import default_config
from jaxgan.systems.stargan_v2.names import names
from jaxgan.training import phases
from jaxgan.training.state import State
from tests import parity_stargan, parity_two_domains
from tests.comparison import (
  ONE_BY_ONE,
  Comparison,
  UnknownFileError,
  compare_ways,
  floats,
  nchw,
  nhwc,
)

PHASES = {
  'd_latent': 'D/latent',
  'd_ref': 'D/ref',
  'g_latent': 'G/latent',
  'g_ref': 'G/ref',
}


# Each is a way of its own through the code.
WAYS = {
  'resample=plain, all heads': {
    'model.resample': 'plain',
    'model.select_heads': False,
  },
  'resample=phases, selected heads, remat': {
    'model.resample': 'phases',
    'model.select_heads': True,
    'model.remat': True,
  },
  'resample=strided': {'model.resample': 'strided'},
  'images one by one': {'micro_batches': ONE_BY_ONE},
}


def compare(path: str) -> dict[str, Comparison]:
  """Compares one file in every way there is; raises UnknownFileError."""
  try:
    with np.load(path, allow_pickle=False) as archive:
      reference = dict(archive)
  except OSError as e:
    raise UnknownFileError(f'cannot be read ({e.strerror or e})') from e
  except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as e:
    raise UnknownFileError('is not a .npz file of arrays') from e
  if 'config' in reference:
    try:
      return _compare_training(reference)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
      raise UnknownFileError(f'is not a whole training file ({e!r})') from e
  if any(key.endswith('/generator_latent') for key in reference):
    return _compare_forward_256(reference)
  if 'inception/features' in reference:
    return {'': _compare_metrics(reference, pathlib.Path(path))}
  raise UnknownFileError('holds neither a training run nor forward passes')


def _compare_training(
  reference: Mapping[str, np.ndarray],
) -> dict[str, Comparison]:
  """Training iterations on given inputs, in float64."""
  settings = json.loads(str(reference['config']))
  system = settings.get('system', 'stargan_v2')
  if system == 'stargan':
    return parity_stargan.compare(reference, settings)
  if system in ('munit', 'unit'):
    return parity_two_domains.compare(reference, settings)
  if system != 'stargan_v2':
    raise UnknownFileError(f'is about {system}, which is not here')
  return compare_ways(reference, settings, WAYS, _config, _run_training)


def _run_training(
  comparison: Comparison,
  config: ml_collections.ConfigDict,
  settings: Mapping,
) -> None:
  model, frozen = step.create_model(config), {}
  if config.model.w_hpf > 0:
    model = _with_masks(model, _stand_in_masks)
    frozen = {'fan': {}}
  rng = jax.random.key(0)  # of nothing: latents are the file's
  state = jax.jit(functools.partial(step.init_state, model))(rng)
  init = {
    name: comparison.params(f'init/{name}/', names(name, tree), tree)
    for name, tree in state.params.items()
  }
  ema = {name: jax.tree.map(jnp.copy, init[name]) for name in step.EMA_NETWORKS}
  state = state.replace(params=init, ema_params=ema)

  update = jax.jit(functools.partial(step.update, model))
  for i in range(settings['iters']):
    batch = _inputs(comparison, i)
    if i == 0:
      outputs = _forward(model, init, frozen, batch)
      for key, value in outputs.items():
        if f'forward/{key}' in comparison.reference:
          comparison.check('forward', f'forward/{key}', value)
    state, metrics, grads = update(state, frozen, batch, rng)

    comparison.check('lambda_ds', f'lambda_ds{i}', metrics['G/lambda_ds'])
    for phase, ours in PHASES.items():
      for key in comparison.keys(f'loss{i}/{phase}/'):
        term = key.rpartition('/')[2]
        comparison.check('loss', key, metrics[f'{ours}_{term}'])
      if i == 0:
        for name, tree in grads[ours].items():
          comparison.check_grads(f'grad0/{phase}/{name}/', _tensors(name, tree))
    if comparison.keys(f'after{i + 1}/'):
      _check_after(comparison, f'after{i + 1}', state)
  if config.model.w_hpf > 0:
    for key in comparison.not_compared():
      if '/decode.' in key and key.endswith('.conv1x1.weight'):
        comparison.skipped[key] = 'unused decoder shortcuts'


def _tensors(network: str, tree: Mapping) -> convert.StateDict:
  return convert.to_tensors(names(network, tree), tree)


def _check_after(comparison: Comparison, prefix: str, state: State) -> None:
  ema = {f'{name}_ema': tree for name, tree in state.ema_params.items()}
  for label, tree in (state.params | ema).items():
    name = label.removesuffix('_ema')
    comparison.check_after(
      f'{prefix}/{label}/', f'init/{name}/', _tensors(name, tree)
    )


def _config(settings: Mapping) -> ml_collections.ConfigDict:
  """The defaults, with the file's settings."""
  config = default_config()
  for group in (config.data, config.model, config.hparams, config.optim):
    group.update({key: settings[key] for key in group if key in settings})
  config.batch_size = settings['batch']
  config.model.dtype = 'float64'
  return config


def _inputs(comparison: Comparison, i: int) -> dict[str, jax.Array]:
  """Batch of iteration i, with its latents."""
  inputs = comparison.take(f'input{i}/')
  return {
    'x_src': nhwc(inputs['x_real']),
    'x_ref': nhwc(inputs['x_ref']),
    'x_ref2': nhwc(inputs['x_ref2']),
    'y_src': jnp.asarray(inputs['y_org'], jnp.int32),
    'y_ref': jnp.asarray(inputs['y_trg'], jnp.int32),
    'z_trg': floats(inputs['z_trg']),
    'z_trg2': floats(inputs['z_trg2']),
  }


def _forward(
  model: step.Model,
  params: Mapping,
  frozen: Mapping,
  batch: Mapping[str, jax.Array],
) -> dict[str, np.ndarray]:
  """Outputs of all networks on one batch, by their names in the files."""

  @jax.jit
  def run(params, batch):
    f = phases.inference(model, params, frozen)
    x = batch['x_src']
    masks = losses.masks(f, x)
    codes = {
      'latent': losses.style(f, batch, 'z_trg'),
      'ref': losses.style(f, batch, 'x_ref'),
    }
    images = {f'mask{i}': mask for i, mask in enumerate(masks or ())}
    for mode, s in codes.items():
      images[f'generator_{mode}'] = f('generator', x, s, masks)
    return images, {
      'mapping_network': codes['latent'],
      'style_encoder': codes['ref'],
      'discriminator': f('discriminator', x, batch['y_src']),
    }

  images, vectors = run(params, batch)
  return vectors | {key: nchw(value) for key, value in images.items()}


def _with_masks(
  model: step.Model, masks: Callable[..., networks.Masks]
) -> step.Model:
  """The model with other masks than those of the face network."""
  return dataclasses.replace(model, frozen_nets={'fan': masks})


def _stand_in_masks(params: Mapping, x: jax.Array) -> networks.Masks:
  """The masks of the training files, which come from no face network."""
  del params
  mask = jax.nn.sigmoid(4 * jnp.mean(x, axis=-1, keepdims=True))
  shape = (len(x), 256, 256, 1)
  mask = jax.image.resize(mask, shape, 'bilinear', antialias=False)
  return mask, mask * mask


def _compare_forward_256(
  reference: Mapping[str, np.ndarray],
) -> dict[str, Comparison]:
  """Forward passes of the real networks on rule-made weights, in float32."""
  comparisons = {}
  for form in layers.RESAMPLE_FORMS:
    comparisons[f'resample={form}'] = comparison = Comparison(reference)
    for name, settings in {
      'afhq': {'num_domains': 3},
      'celeba_hq': {'num_domains': 2, 'w_hpf': 1.0},
    }.items():
      config = default_config()
      config.model.update(settings, resample=form)
      _check_networks(comparison, name, step.create_model(config))
    compare_faces(comparison)
  return comparisons


def _check_networks(
  comparison: Comparison, name: str, model: step.Model
) -> None:
  if model.frozen_nets:
    model = _with_masks(model, _rule_made_masks)
  params = _rule_made_params(name, model.nets)
  batch = {
    'x_src': nhwc(np.tanh(_rule_made('input.x', (2, 3, 256, 256)))),
    'x_ref': nhwc(np.tanh(_rule_made('input.x_ref', (2, 3, 256, 256)))),
    'y_src': jnp.array([1, 0]),
    'y_ref': jnp.array([1, 0]),
    'z_trg': floats(_rule_made('input.z', (2, 16))),
  }
  windows = {
    'generator_latent': np.s_[:, :, ::8, ::8],
    'generator_ref': np.s_[:, :, 3::8, 5::8],
  }
  with jax.default_matmul_precision('highest'):
    outputs = _forward(model, params, {'fan': {}}, batch)
  for key, value in outputs.items():
    if not key.startswith('mask'):
      value = np.asarray(value)[windows.get(key, ...)]
      comparison.check('forward_256', f'{name}/{key}', value)


def compare_faces(comparison: Comparison) -> None:
  """The face network, the masks and the alignment."""
  x = nhwc(np.tanh(_rule_made('input.x', (2, 3, 256, 256))))
  params = wing.from_state_dict(rule_made_face_network())
  with jax.default_matmul_precision('highest'):
    heatmaps = jax.jit(wing.FAN().apply)({'params': params}, (x + 1) / 2)
  comparison.check(
    'forward_256', 'fan/heatmaps', nchw(heatmaps)[:, :, ::4, ::4]
  )

  # Heat in a circle around given landmarks.
  x, y = np.moveaxis(comparison.take('masks/landmarks')[''], 2, 0)
  row, column = np.indices((64, 64))[..., None]
  distance = (column - x[:, None, None]) ** 2 + (row - y[:, None, None]) ** 2
  heatmaps = np.float32(np.exp(-distance / (2 * 1.5**2)))
  masks = wing.postprocess_heatmaps(wing.upsample_heatmaps(heatmaps))
  for i, mask in enumerate(masks):
    comparison.check(
      'forward_256', f'masks/mask{i}', nchw(mask)[:, :, ::2, ::2]
    )
  landmarks = wing.decode_landmarks(heatmaps)
  comparison.check('landmarks', 'align/landmarks_from_heatmaps', landmarks)
  matrix = align.align_matrix(*(4 * landmarks))
  comparison.check('matrix', 'align/matrix', matrix)


def _compare_metrics(
  reference: Mapping[str, np.ndarray], path: pathlib.Path
) -> Comparison:
  """Metrics on pictures, through networks of rule-made weights.

  The pictures are in the file, or `files` beneath ../images name them.
  """
  comparison = Comparison(reference)
  pictures = _pictures(comparison, path.parent.parent / 'images')
  img_size = int(comparison.take('img_size').get('', 256))
  with jax.default_matmul_precision('highest'):
    for prefix, protocol in (('inception', 'stargan_v2'), ('clean', 'clean')):
      if f'{prefix}/features' in reference:
        _check_inception(comparison, prefix, protocol, pictures, img_size)
    _check_lpips(comparison, pictures, img_size)
  a, b = (value for _, value in sorted(comparison.take('fid/features').items()))
  distance = fid.frechet_distance(fid.Gaussian.of(a), fid.Gaussian.of(b))
  for key in {'fid/value', 'clean/fid'} & reference.keys():
    comparison.check('fid', key, distance)
  if 'kid/value' in reference:  # of as many features as the other set has
    value = fid.kernel_distance(a[: len(b)], b)
    comparison.check('fid', 'kid/value', value)
  return comparison


def _pictures(comparison: Comparison, root: pathlib.Path) -> list[Image.Image]:
  if 'pictures' in comparison.reference:
    return [Image.fromarray(x) for x in comparison.take('pictures')['']]
  try:
    return [
      preprocess.decode((root / str(name)).read_bytes())
      for name in comparison.take('files')['']
    ]
  except OSError as e:
    raise UnknownFileError(f'needs its pictures ({e})') from e


def _check_inception(
  comparison: Comparison,
  prefix: str,
  protocol: str,
  pictures: list[Image.Image],
  img_size: int,
) -> None:
  protocol = features.PROTOCOLS[protocol]
  x = np.stack([protocol.prepare(picture, img_size) for picture in pictures])
  # As the file has it: normalised, or not yet where 255 is white.
  inputs = x if prefix == 'clean' else protocol.normalize(x)
  key = f'{prefix}/preprocessed_sample'
  comparison.check('preprocess', key, nchw(inputs)[:, :, ::16, ::16], 1.0)
  network = inception.InceptionV3(protocol.fid_2015)
  name = 'inception_2015' if protocol.fid_2015 else 'inception_v3'
  params = rule_made_network(name, network, (1, 299, 299, 3))
  value = jax.jit(network.apply)({'params': params}, protocol.normalize(x))
  comparison.check('features', f'{prefix}/features', value)


def _check_lpips(
  comparison: Comparison, pictures: list[Image.Image], img_size: int
) -> None:
  x = np.stack(
    [preprocess.to_float(preprocess.resize(p, img_size)) for p in pictures]
  )
  comparison.check(
    'preprocess',
    'preprocess_256_sample',
    nchw(x)[:, :, ::16, ::16],
    1.0,
  )
  linear = comparison.take('lpips/lpips_weights.')
  params = {
    'alexnet': rule_made_network('alexnet', lpips.AlexNet(), (1, 64, 64, 3)),
    'linear': [value[0, :, 0, 0] for _, value in sorted(linear.items())],
  }
  distances = jax.jit(lpips.distances)
  pairs = np.zeros((len(x), len(x)))
  upper = np.triu_indices(len(x), 1)
  pairs[upper] = distances(params, x[None])[0]
  comparison.check('lpips', 'lpips/pair', pairs + pairs.T)
  # Three outputs for two sources: output k is images 2 k and 2 k + 1.
  groups = np.stack([x[0:6:2], x[1:6:2]])
  value = np.mean(distances(params, groups))
  comparison.check('lpips', 'lpips/group_mean', value)


def rule_made_network(
  name: str, network: nn.Module, shape: tuple[int, ...]
) -> dict:
  """Parameters of a network that takes inputs of that shape."""
  like = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros(shape))
  state_dict = {
    key: _rule_made_weight(f'{name}.{key}', value.shape)
    for key, value in torch_params.to_state_dict(_zeros(like['params'])).items()
  }
  return torch_params.from_state_dict(state_dict, like['params'])


def _zeros(like: Mapping) -> Mapping:
  """Arrays of no memory that tell official names and shapes."""
  return jax.tree.map(
    lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), like
  )


def _rule_made(full: str, shape: tuple[int, ...]) -> np.ndarray:
  """Standard normals drawn from the name of a tensor."""
  rng = np.random.default_rng(zlib.crc32(full.encode()))
  return rng.standard_normal(shape).astype(np.float32)


def _rule_made_weight(full: str, shape: tuple[int, ...]) -> np.ndarray:
  a = _rule_made(full, shape)
  if len(shape) >= 2:
    return a * np.float32(np.sqrt(2 / np.prod(shape[1:])))
  if full.endswith('running_var'):
    a = np.abs(a)
  return 1 + 0.1 * a if full.endswith(('weight', 'running_var')) else 0.1 * a


def rule_made_face_network() -> dict[str, np.ndarray]:
  """A state dict of the face network."""
  zeros = _zeros(wing.param_shapes())
  return {
    key: _rule_made_weight(f'fan.{key}', value.shape)
    for key, value in torch_params.to_state_dict(zeros).items()
  }


def _rule_made_params(name: str, nets: networks.Networks) -> dict:
  template = jax.eval_shape(
    functools.partial(
      networks.init_params, nets, img_size=256, latent_dim=16, style_dim=64
    ),
    jax.random.key(0),
  )
  params = {}
  for network, tree in template.items():
    zeros = _zeros(tree)
    state_dict = {
      key: _rule_made_weight(f'{name}.{network}.{key}', value.shape)
      for key, value in _tensors(network, zeros).items()
    }
    params[network], _ = convert.from_tensors(
      names(network, tree), state_dict, tree
    )
  return jax.tree.map(jnp.asarray, params)


def _rule_made_masks(params: Mapping, x: jax.Array) -> networks.Masks:
  del params, x
  return tuple(
    jax.nn.sigmoid(nhwc(_rule_made(f'input.mask{i}', (2, 1, 256, 256))))
    for i in range(2)
  )


def main(paths: list[str]) -> int:
  """Compares files and prints the rows; returns the exit status."""
  if not paths:
    print('usage: python -m tests.parity FILE.npz ...', file=sys.stderr)
    return 2
  status = 0
  for path in paths:
    print(path)
    try:
      comparisons = compare(path)
    except UnknownFileError as e:
      print(f'error: {path} {e}', file=sys.stderr)
      return 2
    for name, comparison in comparisons.items():
      if name:
        print(f'  {name}')
      status |= not comparison.report()
  return int(status)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
