"""Compares the project with numbers measured on the original PyTorch code.

  python -m tests.parity FILE.npz ...

prints a row per group of arrays with the worst error and the array it is in.
Exit status 1 if an error is over its limit or an array was not compared, 2 if a
file is of no known kind. Two kinds are known: files with a `config` hold whole
training iterations, compared in float64; files with forward passes of the real
networks at 256 px on weights made by a rule, compared in float32.
"""

import dataclasses
import functools
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan.stargan_v2 import convert, losses, networks, step

LIMITS = {
  'forward': 1e-8,
  'loss': 1e-8,
  'grad': 1e-8,
  'lambda_ds': 1e-8,
  'after': 1e-5,
  'forward_256': 2e-4,
}
NOT_BUILT_YET = ('fan/', 'masks/', 'align/')
NETWORKS = (
  'generator',
  'mapping_network',
  'style_encoder',
  'discriminator',
)
PHASES = {
  'd_latent': 'D/latent',
  'd_ref': 'D/ref',
  'g_latent': 'G/latent',
  'g_ref': 'G/ref',
}


class UnknownFileError(ValueError):
  """The file is not one of the kinds that can be compared."""


@dataclasses.dataclass
class Comparison:
  """Errors by array, and what became of every array of a file."""

  reference: Mapping[str, np.ndarray]
  errors: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
  read: set[str] = dataclasses.field(default_factory=set)  # weights and inputs
  skipped: dict[str, str] = dataclasses.field(default_factory=dict)  # reasons

  def check(
    self, group: str, key: str, value: np.ndarray, scale: float | None = None
  ) -> None:
    """Notes max|value - reference| / scale, by default max|reference|."""
    expected = self.reference[key]
    value = np.asarray(value)
    if value.shape != expected.shape:
      error = np.inf
    else:
      scale = np.max(np.abs(expected)) if scale is None else scale
      error = np.max(np.abs(value - expected)) / (scale or 1.0)
    # A NaN is an error beyond any limit, not one that compares as fine.
    error = float(error) if np.isfinite(error) else np.inf
    self.errors.setdefault(group, {})[key] = error

  def take(self, prefix: str) -> dict[str, np.ndarray]:
    """The file's arrays of a prefix, to start or feed the run with."""
    keys = self.keys(prefix)
    self.read.update(keys)
    return {key.removeprefix(prefix): self.reference[key] for key in keys}

  def keys(self, prefix: str) -> list[str]:
    """Names of the file's arrays of a prefix."""
    return [key for key in self.reference if key.startswith(prefix)]

  def not_compared(self) -> list[str]:
    """Arrays of the file that were neither compared nor fed to the run."""
    done = self.read.union(*self.errors.values(), self.skipped, {'config'})
    return [key for key in self.reference if key not in done]

  def report(self) -> bool:
    """Prints a row per group; true if everything is within the limits."""
    passed = True
    for group, errors in self.errors.items():
      worst = max(errors, key=errors.get)
      fine = errors[worst] <= LIMITS[group]
      passed &= fine
      print(
        f'  {group:<12} {len(errors):4d} arrays  worst {errors[worst]:.1e}  '
        f'limit {LIMITS[group]:.0e}  {"ok  " if fine else "OVER"}  {worst}'
      )
    for reason in dict.fromkeys(self.skipped.values()):
      keys = [key for key, value in self.skipped.items() if value == reason]
      print(f'  {reason}: {", ".join(keys)}')
    if missing := self.not_compared():
      print(f'  NOT COMPARED: {", ".join(missing)}')
    return passed and not missing


def compare(path: str) -> Comparison:
  """Compares one file; raises UnknownFileError."""
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
    return Comparison(
      reference, skipped=dict.fromkeys(reference, 'not built yet')
    )
  raise UnknownFileError('holds neither a training run nor forward passes')


def _compare_training(reference: Mapping[str, np.ndarray]) -> Comparison:
  """Training iterations on given inputs, in float64."""
  settings = json.loads(str(reference['config']))
  if settings.get('system', 'stargan_v2') != 'stargan_v2':
    raise UnknownFileError(f'is about {settings["system"]}, which is not here')
  comparison = Comparison(reference)
  with jax.enable_x64(True):
    _run_training(comparison, settings)
  if settings['w_hpf'] > 0:
    for key in comparison.not_compared():
      if '/decode.' in key and key.endswith('.conv1x1.weight'):
        comparison.skipped[key] = 'unused decoder shortcuts'
  return comparison


def _run_training(comparison: Comparison, settings: Mapping) -> None:
  masks_fn = _stand_in_masks if settings['w_hpf'] > 0 else None
  init_fn, static = step.create_training(_config(settings), masks_fn)
  state = jax.jit(init_fn)(jax.random.key(0))
  init = {name: _restore(comparison, name, state.params) for name in NETWORKS}
  ema = {name: jax.tree.map(jnp.copy, init[name]) for name in step.EMA_NETWORKS}
  state = state.replace(params=init, ema_params=ema)

  update = jax.jit(functools.partial(step.update, **static))
  for i in range(settings['iters']):
    inputs = _inputs(comparison, i)
    if i == 0:
      outputs = _forward(static['nets'], init, masks_fn, *inputs[:2])
      for key, value in outputs.items():
        if f'forward/{key}' in comparison.reference:
          comparison.check('forward', f'forward/{key}', value)
    state, metrics, grads = update(state, {}, *inputs)

    comparison.check('lambda_ds', f'lambda_ds{i}', metrics['G/lambda_ds'])
    for phase, ours in PHASES.items():
      for key in comparison.keys(f'loss{i}/{phase}/'):
        term = key.rpartition('/')[2]
        comparison.check('loss', key, metrics[f'{ours}_{term}'])
      if i == 0:
        _check_grads(comparison, phase, grads[ours])
    if comparison.keys(f'after{i + 1}/'):
      _check_after(comparison, f'after{i + 1}', state)


def _restore(comparison: Comparison, network: str, template: Mapping):
  """The network's parameters at the start of the file's run."""
  prefix = f'init/{network}/'
  state_dict = comparison.take(prefix)
  params, unused = convert.from_state_dict(
    network, state_dict, template[network]
  )
  comparison.read.difference_update(prefix + key for key in unused)
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)


def _check_grads(comparison: Comparison, phase: str, grads: Mapping) -> None:
  for name, tree in grads.items():
    prefix = f'grad0/{phase}/{name}/'
    scale = max(
      np.max(np.abs(comparison.reference[key]))
      for key in comparison.keys(prefix)
    )
    for key, value in convert.to_state_dict(name, tree).items():
      comparison.check('grad', prefix + key, value, scale)


def _check_after(
  comparison: Comparison, prefix: str, state: step.TrainState
) -> None:
  reference = comparison.reference
  ema = {f'{name}_ema': tree for name, tree in state.ema_params.items()}
  for label, tree in (state.params | ema).items():
    name = label.removesuffix('_ema')
    for key, value in convert.to_state_dict(name, tree).items():
      full = f'{prefix}/{label}/{key}'
      change = reference[full] - reference[f'init/{name}/{key}']
      comparison.check('after', full, value, np.max(np.abs(change)))


def _config(settings: Mapping) -> ml_collections.ConfigDict:
  """The file's settings, grouped as in configs/."""
  groups = {
    'data': ('img_size',),
    'model': (
      'channel_base',
      'max_conv_dim',
      'hidden_dim',
      'style_dim',
      'latent_dim',
      'num_domains',
      'w_hpf',
    ),
    'hparams': (
      'lambda_reg',
      'lambda_sty',
      'lambda_ds',
      'lambda_cyc',
      'ds_iter',
    ),
    'optim': ('lr', 'f_lr', 'beta1', 'beta2', 'weight_decay'),
  }
  config = ml_collections.ConfigDict(
    {
      group: {key: settings[key] for key in keys}
      for group, keys in groups.items()
    }
  )
  config.model.dtype = 'float64'
  config.hparams.ema_decay = settings.get('ema_decay', 0.999)
  return config


def _inputs(
  comparison: Comparison, i: int
) -> tuple[dict[str, jax.Array], jax.Array, jax.Array]:
  """Batch and the two latents of iteration i."""
  inputs = comparison.take(f'input{i}/')
  batch = {
    'x_src': _nhwc(inputs['x_real']),
    'x_ref': _nhwc(inputs['x_ref']),
    'x_ref2': _nhwc(inputs['x_ref2']),
    'y_src': jnp.asarray(inputs['y_org'], jnp.int32),
    'y_ref': jnp.asarray(inputs['y_trg'], jnp.int32),
  }
  z_trg, z_trg2 = (_floats(inputs[key]) for key in ('z_trg', 'z_trg2'))
  return batch, z_trg, z_trg2


def _forward(
  nets: networks.Networks,
  params: Mapping,
  masks_fn: Callable | None,
  batch: Mapping[str, jax.Array],
  z: jax.Array,
) -> dict[str, np.ndarray]:
  """Outputs of all networks on one batch, by their names in the files."""

  @jax.jit
  def run(params, batch, z):
    x, y_trg = batch['x_src'], batch['y_ref']
    masks = masks_fn({}, x) if masks_fn else ()
    codes = {
      'latent': losses.style(nets, params, y_trg, z=z),
      'ref': losses.style(nets, params, y_trg, x_ref=batch['x_ref']),
    }
    images = {f'mask{i}': mask for i, mask in enumerate(masks)}
    for mode, s in codes.items():
      images[f'generator_{mode}'] = losses.translate(
        nets, params, x, s, masks or None
      )
    logits = losses.discriminate(nets, params, x, batch['y_src'])
    return images, {
      'mapping_network': codes['latent'],
      'style_encoder': codes['ref'],
      'discriminator': logits,
    }

  images, vectors = run(params, batch, z)
  return vectors | {key: _nchw(value) for key, value in images.items()}


def _stand_in_masks(frozen: Mapping, x: jax.Array) -> networks.Masks:
  """The masks of the training files, which come from no face network."""
  del frozen
  mask = jax.nn.sigmoid(4 * jnp.mean(x, axis=-1, keepdims=True))
  shape = (len(x), 256, 256, 1)
  mask = jax.image.resize(mask, shape, 'bilinear', antialias=False)
  return mask, mask * mask


def _compare_forward_256(reference: Mapping[str, np.ndarray]) -> Comparison:
  """Forward passes of the real networks on rule-made weights, in float32."""
  comparison = Comparison(reference)
  for name, settings in {
    'afhq': {'num_domains': 3},
    'celeba_hq': {'num_domains': 2, 'w_hpf': 1.0},
  }.items():
    nets = networks.create_networks(img_size=256, **settings)
    params = _rule_made_params(name, nets)
    batch = {
      'x_src': _nhwc(np.tanh(_rule_made('input.x', (2, 3, 256, 256)))),
      'x_ref': _nhwc(np.tanh(_rule_made('input.x_ref', (2, 3, 256, 256)))),
      'y_src': jnp.array([1, 0]),
      'y_ref': jnp.array([1, 0]),
    }
    z = _floats(_rule_made('input.z', (2, 16)))
    masks_fn = _rule_made_masks if settings.get('w_hpf') else None
    windows = {
      'generator_latent': np.s_[:, :, ::8, ::8],
      'generator_ref': np.s_[:, :, 3::8, 5::8],
    }
    with jax.default_matmul_precision('highest'):
      outputs = _forward(nets, params, masks_fn, batch, z)
    for key, value in outputs.items():
      if not key.startswith('mask'):
        value = np.asarray(value)[windows.get(key, ...)]
        comparison.check('forward_256', f'{name}/{key}', value)
  for key in comparison.not_compared():
    if key.startswith(NOT_BUILT_YET):
      comparison.skipped[key] = 'not built yet'
  return comparison


def _rule_made(full: str, shape: tuple[int, ...]) -> np.ndarray:
  """Standard normals drawn from the name of a tensor."""
  rng = np.random.default_rng(zlib.crc32(full.encode()))
  return rng.standard_normal(shape).astype(np.float32)


def _rule_made_weight(full: str, shape: tuple[int, ...]) -> np.ndarray:
  a = _rule_made(full, shape)
  if len(shape) >= 2:
    return a * np.float32(np.sqrt(2 / np.prod(shape[1:])))
  return 1 + 0.1 * a if full.endswith('weight') else 0.1 * a


def _rule_made_params(name: str, nets: networks.Networks) -> dict:
  template = jax.eval_shape(
    functools.partial(
      networks.init_params, nets, img_size=256, latent_dim=16, style_dim=64
    ),
    jax.random.key(0),
  )
  params = {}
  for network, tree in template.items():
    # Zeros of no memory tell the official names and shapes.
    zeros = jax.tree.map(
      lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), tree
    )
    state_dict = {
      key: _rule_made_weight(f'{name}.{network}.{key}', value.shape)
      for key, value in convert.to_state_dict(network, zeros).items()
    }
    params[network], _ = convert.from_state_dict(network, state_dict, tree)
  return jax.tree.map(jnp.asarray, params)


def _rule_made_masks(frozen: Mapping, x: jax.Array) -> networks.Masks:
  del frozen, x
  names = ('input.mask0', 'input.mask1')
  return tuple(
    jax.nn.sigmoid(_nhwc(_rule_made(name, (2, 1, 256, 256)))) for name in names
  )


def _floats(x: np.ndarray) -> jax.Array:
  """In float64 where that is enabled, else float32."""
  return jnp.asarray(x, jnp.result_type(float))


def _nhwc(x: np.ndarray) -> jax.Array:
  return _floats(x.transpose(0, 2, 3, 1))


def _nchw(x: jax.Array) -> np.ndarray:
  return np.asarray(x).transpose(0, 3, 1, 2)


def main(paths: list[str]) -> int:
  """Compares files and prints the rows; returns the exit status."""
  if not paths:
    print('usage: python -m tests.parity FILE.npz ...', file=sys.stderr)
    return 2
  status = 0
  for path in paths:
    print(path)
    try:
      passed = compare(path).report()
    except UnknownFileError as e:
      print(f'error: {path} {e}', file=sys.stderr)
      return 2
    status = status or int(not passed)
  return status


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
