"""Whole iterations of StarGAN, compared with the original PyTorch code's.

A file has, beside `config`, for the iteration i and the data set k of it

  init/<net>/<key>: weights, after1/..., after<iters>/...: those later
  input<i>/<k>/{x_real,c_org,c_trg,alpha}
  forward/{fake,rec,src,cls}: of iteration 0, data set 0, before any step
  loss<i>/<k>/d/{real,fake,cls,gp,total}, .../g/{fake,rec,cls,total}
  grad<i>/<k>/<phase>/<net>/<key>: where a phase comes first
  lr<i>
"""

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from jaxgan.systems.stargan import config as config_lib
from jaxgan.systems.stargan import losses, official, step
from tests.comparison import Comparison, floats, nchw, nhwc

# Settings beside a file's, each a way of its own through the code.
PATHS: dict[str, dict[str, Any]] = {
  'resample=plain': {'model.resample': 'plain'},
  'resample=phases': {'model.resample': 'phases'},
  'micro_batches': {'micro_batches': None},  # of one image
}
_PHASES = {'d': 'discriminator', 'g': 'generator'}
_DATA = {
  'CelebA': ('celeba', ''),
  'RaFD': ('folder', ''),
  'Both': ('celeba', 'folder'),
}


def compare(
  reference: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, Comparison]:
  """Compares one file in every way there is."""
  comparisons = {}
  for name, path in PATHS.items():
    comparisons[name] = comparison = Comparison(reference)
    config = _config(settings)
    changes = {
      key: settings['batch'] if value is None else value
      for key, value in path.items()
    }
    config.update_from_flattened_dict(changes)
    with jax.enable_x64(True):
      _run(comparison, config, settings)
  return comparisons


def _config(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The defaults, with the file's settings."""
  config = config_lib.default_config()
  for group in (config.data, config.model, config.hparams, config.optim):
    group.update({key: settings[key] for key in group if key in settings})
  data = config.data
  data.name, data.joint_name = _DATA[settings['dataset']]
  data.domains = tuple(f'first{i}' for i in range(settings['c_dim']))
  if settings['selected_attrs']:
    data.domains = tuple(settings['selected_attrs'])
  data.joint_domains = tuple(f'second{i}' for i in range(settings['c2_dim']))
  config.parity = settings['parity']
  config.batch_size = settings['batch']
  config.optim.decay_steps = settings['num_iters_decay']
  config.optim.decay_start = settings['num_iters'] - settings['num_iters_decay']
  config.model.dtype = 'float64'
  return config


def _run(
  comparison: Comparison,
  config: ml_collections.ConfigDict,
  settings: Mapping[str, Any],
) -> None:
  init_fn, static = step.create_training(config)
  state = jax.jit(init_fn)(jax.random.key(0))
  init = {}
  for name in step.NETWORKS:
    tensors = comparison.take(f'init/{name}/')
    params, unused = official.from_state_dict(name, tensors, state.params[name])
    comparison.read.difference_update(f'init/{name}/{key}' for key in unused)
    init[name] = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
  state = state.replace(params=init)

  num_sets = len(static['labels'].sets)
  update = jax.jit(functools.partial(step.update, **static))
  steps = {
    (k, phase): jax.jit(
      functools.partial(step.step_network, net, index=k, **static)
    )
    for k, (phase, net) in itertools.product(range(num_sets), _PHASES.items())
  }
  n_critic = settings['n_critic']
  whole = state  # stepped by whole steps; `state` network by network
  iterations: list[list[dict[str, jax.Array]]] = []
  for i in range(settings['iters']):
    batches = [_batch(comparison, i, k, static) for k in range(num_sets)]
    if i == 0:
      _check_forward(comparison, state.params, batches[0], static)
    lr = step.learning_rate(jnp.asarray(i), static['hp'])
    comparison.check('lr', f'lr{i}', lr)
    state = _iterate(comparison, i, state, batches, steps, lr, n_critic)
    if comparison.keys(f'after{i + 1}/'):
      _check_after(comparison, f'after{i + 1}', state)
    iterations.append(batches)
    if len(iterations) == n_critic:
      whole, metrics = update(whole, iterations)
      iterations = []
      comparison.check('lr', f'lr{i}', metrics['lr'])
      _check_losses(comparison, i, metrics)
      if comparison.keys(f'after{i + 1}/'):
        _check_after(comparison, f'after{i + 1}', whole)


def _batch(
  comparison: Comparison, i: int, k: int, static: Mapping[str, Any]
) -> dict[str, jax.Array]:
  inputs = comparison.take(f'input{i}/{k}/')
  # What the labels are completed with comes out of the code that is tested.
  span = static['labels'].span(k)
  batch = {
    'x': nhwc(inputs['x_real']),
    'c': floats(inputs['c_org'][:, span]),
    'c_trg': floats(inputs['c_trg'][:, span]),
    'alpha': floats(inputs['alpha']),
  }
  whole = static['labels'].complete(k, batch['c_trg'])
  np.testing.assert_array_equal(whole, inputs['c_trg'])
  return batch


def _check_forward(
  comparison: Comparison,
  params: Mapping,
  batch: Mapping[str, jax.Array],
  static: Mapping[str, Any],
) -> None:
  nets, labels = static['nets'], static['labels']

  @jax.jit
  def run(params, x, c, c_trg):
    fake = losses.translate(nets, params, x, labels.complete(0, c_trg))
    rec = losses.translate(nets, params, fake, labels.complete(0, c))
    src, cls = losses.discriminate(nets, params, x)
    return fake, rec, src, cls

  fake, rec, src, cls = run(params, batch['x'], batch['c'], batch['c_trg'])
  comparison.check('forward', 'forward/fake', nchw(fake))
  comparison.check('forward', 'forward/rec', nchw(rec))
  comparison.check('forward', 'forward/src', src[:, None])
  comparison.check('forward', 'forward/cls', cls)


def _iterate(
  comparison: Comparison,
  i: int,
  state: step.TrainState,
  batches: list[dict[str, jax.Array]],
  steps: Mapping,
  lr: jax.Array,
  n_critic: int,
) -> step.TrainState:
  """Iteration i network by network, with its losses and gradients."""
  for k, batch in enumerate(batches):
    for phase, net in _PHASES.items():
      if phase == 'g' and (i + 1) % n_critic:
        continue
      state, terms, grads = steps[k, phase](state, batch, lr)
      for key in comparison.keys(f'loss{i}/{k}/{phase}/'):
        comparison.check('loss', key, terms[key.rpartition('/')[2]])
      prefix = f'grad{i}/{k}/{phase}/{net}/'
      if keys := comparison.keys(prefix):
        scale = max(np.max(np.abs(comparison.reference[key])) for key in keys)
        for key, value in official.to_state_dict(net, grads).items():
          comparison.check('grad', prefix + key, value, scale)
  return state


def _check_losses(
  comparison: Comparison, i: int, metrics: Mapping[str, jax.Array]
) -> None:
  """The metrics of a step are the losses of its last iteration."""
  for key in comparison.keys(f'loss{i}/'):
    _, k, phase, term = key.split('/')
    prefix = 'joint_' if int(k) else ''
    comparison.check(
      'loss', key, metrics[f'{phase.upper()}/{prefix}loss_{term}']
    )


def _check_after(
  comparison: Comparison, prefix: str, state: step.TrainState
) -> None:
  reference = comparison.reference
  for name, tree in state.params.items():
    for key, value in official.to_state_dict(name, tree).items():
      full = f'{prefix}/{name}/{key}'
      change = reference[full] - reference[f'init/{name}/{key}']
      comparison.check('after', full, value, np.max(np.abs(change)))
