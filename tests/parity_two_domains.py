"""Compares whole iterations of MUNIT and UNIT with the original codes'.

The arrays of a file, all layouts PyTorch's, are

  init/<net>/<key>: weights at the start, of gen_a, gen_b, dis_a and dis_b, or
    of gen and dis; vgg/<key>
  input<i>/x_a, x_b: images; input<i>/<phase>/...: what was drawn, styles s_<x>
    or noise n_<x>; phase is d or g
  forward/...: of iteration 0: what the generators make, and the scores of real
    images, at the weights of the start
  loss<i>/<phase>/<term>, lr<i>
  grad0/<phase>/<net>/<key>
  after<n>/<net>/<key>: weights after n iterations
"""

import functools
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan.nets import blocks, vgg
from jaxgan.pytorch import convert
from jaxgan.systems import munit, unit
from jaxgan.systems.munit import official as munit_official
from jaxgan.systems.munit import step as munit_step
from jaxgan.systems.two_domains import Model, init_state
from jaxgan.systems.unit import config as unit_config
from jaxgan.systems.unit import official as unit_official
from jaxgan.systems.unit import step as unit_step
from jaxgan.training import phases
from tests.comparison import (
  ONE_BY_ONE,
  Comparison,
  compare_ways,
  floats,
  nchw,
  nhwc,
)

# Each is a way of its own through the code.
WAYS: dict[str, dict[str, Any]] = {
  'resample=plain': {'model.resample': 'plain'},
  'resample=phases': {'model.resample': 'phases'},
  'images one by one': {
    'model.resample': 'phases',
    'micro_batches': ONE_BY_ONE,
  },
}

_PHASES = {'d': ('D', 'discriminator'), 'g': ('G', 'generator')}
# Our names of terms, by those of the originals without their domain.
_TERMS = {
  'recon_x': 'x',
  'recon_s': 's',
  'recon_c': 'c',
  'cycrecon_x': 'cyc',
  'cyc_x': 'cyc',
  'adv': 'gan',
  'vgg': 'vgg',
  'recon_kl': 'kl',
  'recon_kl_cyc': 'klc',
  'ad': 'gan',
  'll': 'x',
  'enc': 'klc',
}


def compare(
  reference: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, Comparison]:
  """Compares a file in every way there is."""
  ways = dict(WAYS)
  if _config(settings).model.get('d_norm') == 'bn':
    for name in [n for n, way in WAYS.items() if 'micro_batches' in way]:
      print(f'  {name}: left out, a norm of the batch needs it whole')
      del ways[name]
  return compare_ways(reference, settings, ways, _config, _run)


def _config(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The defaults, with the file's settings."""
  gen, dis = settings['gen'], settings['dis']
  first = 'ch' in gen  # the code of UNIT's paper
  if settings['system'] == 'munit':
    config = munit.default_config()
    config.model.mlp_dim = gen['mlp_dim']
    config.model.latent_dim = gen['style_dim']
    config.hparams.update(
      lambda_x=settings['recon_x_w'],
      lambda_s=settings['recon_s_w'],
      lambda_c=settings['recon_c_w'],
      lambda_cyc=settings['recon_x_cyc_w'],
    )
  elif first:
    config = unit.default_config()
    config.model.update(
      n_shared=gen['n_enc_shared_blk'],
      normalize=gen['name'] == 'COCOResGen',
      d_kind={
        'COCOSharedDis': 'shared',
        'COCODis': 'separate',
        'COCOMsDis': 'multiscale',
      }[dis['name']],
      d_front=dis.get('n_front_layer', 1),
    )
    config.hparams.update(
      lambda_x=settings['ll_direct_link_w'],
      lambda_cyc=settings['ll_cycle_link_w'],
      lambda_kl=settings['kl_direct_link_w'],
      lambda_klc=settings['kl_cycle_link_w'],
    )
  else:
    config = unit_config.unshared_config()
    config.hparams.update(
      lambda_x=settings['recon_x_w'],
      lambda_cyc=settings['recon_x_cyc_w'],
      lambda_kl=settings['recon_kl_w'],
      lambda_klc=settings['recon_kl_cyc_w'],
    )
  layers = dis.get('n_layer')
  if layers is None:
    layers = dis['n_front_layer'] + dis['n_shared_layer']
  config.model.update(
    dim=gen['ch'] if first else gen['dim'],
    n_downsample=gen['n_enc_front_blk'] - 1 if first else gen['n_downsample'],
    n_res=gen['n_enc_res_blk'] if first else gen['n_res'],
    d_dim=dis['ch'] if first else dis['dim'],
    d_layers=layers,
    d_scales=dis.get('num_scales', 3),
    dtype='float64',
  )
  config.model.update(
    {key: settings.get(key, 3) for key in ('input_dim_a', 'input_dim_b')}
  )
  if not first:
    config.model.update(
      pad_type=gen['pad_type'],
      activ=gen['activ'],
      d_pad_type=dis['pad_type'],
      d_activ=dis['activ'],
      d_norm=dis['norm'],
    )
  config.hparams.lambda_gan = settings['gan_w']
  config.hparams.lambda_vgg = settings.get('vgg_w', 0)
  config.hparams.gan_type = 'nsgan' if first else dis['gan_type']
  config.optim.update(
    lr=settings['lr'],
    beta1=settings['beta1'],
    beta2=settings['beta2'],
    weight_decay=settings['weight_decay'],
    step_size=settings['step_size'] or 0,
    gamma=settings['gamma'] or 1.0,
  )
  config.parity = settings['parity']
  config.data.img_size = settings['img_size']
  config.batch_size = settings['batch']
  return config


def _modules(system: str) -> tuple[ModuleType, ModuleType]:
  if system == 'munit':
    return munit_step, munit_official
  return unit_step, unit_official


def _tensors(network: str, params: Any, official: ModuleType) -> dict:
  """{<net>/<key>: tensor} of a network, as the files name them."""
  return convert.to_tensors(_full_places(network, params, official), params)


def _full_places(
  network: str, params: Any, official: ModuleType
) -> convert.Places:
  """The table of a network, by <net>/<key>."""
  places = official.names(network, params)
  return {_full_key(network, key): place for key, place in places.items()}


def _full_key(network: str, key: str) -> str:
  letter, dot, rest = key.partition('.')
  short = network[:3]
  return f'{short}_{letter}/{rest}' if letter in 'ab' else f'{short}/{key}'


def _run(
  comparison: Comparison,
  config: ml_collections.ConfigDict,
  settings: Mapping[str, Any],
) -> None:
  step, official = _modules(config.system)
  model = step.create_model(config)
  rng = jax.random.key(0)  # of nothing: draws are the file's
  state = jax.jit(functools.partial(init_state, model))(rng)
  params = {
    network: comparison.params(
      'init/', _full_places(network, tree, official), tree
    )
    for network, tree in state.params.items()
  }
  state = state.replace(params=params)
  frozen = {}
  if config.hparams.lambda_vgg > 0:
    tensors = comparison.take('vgg/')
    # In float64 also what is subtracted from images.
    wide = {key: np.float64(value) for key, value in tensors.items()}
    frozen = {'vgg': vgg.from_state_dict(wide)}
    frozen = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), frozen)

  update = jax.jit(functools.partial(step.update, model))
  for i in range(settings['iters']):
    batch = _inputs(comparison, i)
    if i == 0:
      forward = _forward_munit if config.system == 'munit' else _forward_unit
      outputs = jax.jit(functools.partial(forward, model))(params, batch)
      _check_forward(comparison, outputs)
    state, metrics, grads = update(state, frozen, batch, rng)
    comparison.check('lr', f'lr{i}', metrics['lr'])
    _check_losses(comparison, i, metrics)
    if i == 0:
      _check_grads(comparison, grads, official)
    if comparison.keys(f'after{i + 1}/'):
      _check_after(comparison, f'after{i + 1}', state, official)


def _inputs(comparison: Comparison, i: int) -> dict[str, jax.Array]:
  """Batch of iteration i, with what was drawn for it."""
  batch = {}
  for key, value in comparison.take(f'input{i}/').items():
    phase, _, name = key.rpartition('/')
    # What the discriminators draw has a 2 in its name.
    name = f'{name}2' if phase == 'd' else name
    batch[name] = floats(value) if value.ndim == 2 else nhwc(value)
    if name in ('x_a', 'x_b'):  # here a grey image has three equal channels
      batch[name] = blocks.as_rgb(batch[name])
  return batch


def _forward_munit(
  model: Model, params: Mapping[str, Any], batch: Mapping[str, jax.Array]
) -> dict[str, Any]:
  f = phases.inference(model, params)
  content, style, decode = (
    functools.partial(f, 'generator', method=name)
    for name in ('content', 'style', 'decode')
  )
  outputs: dict[str, Any] = {}
  for i, (own, other) in enumerate(('ab', 'ba')):
    x = batch[f'x_{own}']
    c, s = content(x, i), style(x, i)
    fake = decode(c, batch[f's_{other}'], 1 - i)
    c_back = content(fake, 1 - i)
    outputs |= {
      f'c_{own}': c,
      f's_{own}': s,
      f'x_{own}_recon': decode(c, s, i),
      f'x_{own}{other}': fake,
      f'x_{own}{other}{own}': decode(c_back, s, i),
    }
    scores = f('discriminator', x, i)
    outputs |= {f'dis_{own}/{k}': score for k, score in enumerate(scores)}
  return outputs


def _forward_unit(
  model: Model, params: Mapping[str, Any], batch: Mapping[str, jax.Array]
) -> dict[str, Any]:
  f = phases.inference(model, params)
  encode, decode = (
    functools.partial(f, 'generator', method=name)
    for name in ('encode', 'decode')
  )
  outputs: dict[str, Any] = {}
  for i, (own, other) in enumerate(('ab', 'ba')):
    x = batch[f'x_{own}']
    h = encode(x, i)
    same, fake = decode(h + batch[f'n_{own}'], (i, 1 - i))
    h_back = encode(fake, 1 - i)
    (back,) = decode(h_back + batch[f'n_{own}{other}{own}'], (i,))
    outputs |= {
      f'h_{own}': h,
      f'x_{own}{own}': same,
      f'x_{own}{other}': fake,
      f'x_{own}{other}{own}': back,
    }
    scores = f('discriminator', x, i)
    outputs |= {f'dis_{own}/{k}': score for k, score in enumerate(scores)}
  return outputs


def _check_forward(comparison: Comparison, outputs: Mapping[str, Any]) -> None:
  for name, value in outputs.items():
    key = f'forward/{name}'
    if key not in comparison.reference:
      continue  # a cycle that the file's settings leave out
    if name.startswith('dis_'):
      value = np.asarray(value).reshape(comparison.reference[key].shape)
    elif value.ndim == 4:
      value = nchw(value)
      if name.startswith('x_'):
        value = value[:, : comparison.reference[key].shape[1]]
    comparison.check('forward', key, value)


def _check_losses(
  comparison: Comparison, i: int, metrics: Mapping[str, Any]
) -> None:
  for key in comparison.keys(f'loss{i}/'):
    _, phase, term = key.split('/')
    letter = _PHASES[phase][0]
    name, _, domain = term.rpartition('_')
    if term in ('total', 'a', 'b'):
      value = metrics[f'{letter}/loss_{term}']
    elif term == 'enc':  # of both domains at once
      value = (metrics['G/loss_kl_a'] + metrics['G/loss_kl_b']) / 2
    elif (name, len(domain)) == ('ll', 3):
      value = metrics[f'G/loss_cyc_{domain[0]}']
    else:
      value = metrics[f'G/loss_{_TERMS[name]}_{domain[0]}']
    comparison.check('loss', key, value)


def _check_grads(
  comparison: Comparison, grads: Mapping[str, Any], official: ModuleType
) -> None:
  for phase, (letter, network) in _PHASES.items():
    gradient = grads[f'{letter}/loss'][network]
    tensors = _tensors(network, gradient, official)
    comparison.check_grads(f'grad0/{phase}/', tensors)


def _check_after(
  comparison: Comparison, prefix: str, state: Any, official: ModuleType
) -> None:
  for network, tree in state.params.items():
    tensors = _tensors(network, tree, official)
    comparison.check_after(f'{prefix}/', 'init/', tensors)
