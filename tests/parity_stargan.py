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
from collections.abc import Callable, Mapping
from typing import Any

import jax
import ml_collections
import numpy as np

from jaxgan.pytorch import convert
from jaxgan.systems.stargan import official, step
from jaxgan.systems.stargan.config import default_config
from jaxgan.training import phases
from jaxgan.training import state as state_lib
from jaxgan.training.state import State
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
  'images one by one': {'micro_batches': ONE_BY_ONE},
}
_DATA = {
  'CelebA': ('celeba', ''),
  'RaFD': ('folder', ''),
  'Both': ('celeba', 'folder'),
}


def compare(
  reference: Mapping[str, np.ndarray], settings: Mapping[str, Any]
) -> dict[str, Comparison]:
  """Compares one file in every way there is."""
  return compare_ways(reference, settings, WAYS, _config, _run)


def _config(settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """The defaults, with the file's settings."""
  config = default_config()
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
  model = step.create_model(config)
  like = jax.eval_shape(
    functools.partial(step.init_state, model), jax.random.key(0)
  ).params
  init = {
    name: comparison.params(f'init/{name}/', official.names(name, tree), tree)
    for name, tree in like.items()
  }

  @functools.cache
  def compiled(phases: tuple[str, ...]) -> Callable:
    return jax.jit(functools.partial(step.update, model, phases=phases))

  rng = jax.random.key(0)  # nothing draws
  # One is stepped by whole iterations, the other one phase by phase.
  whole = apart = state_lib.create(init, dict(model.tx))
  for i in range(settings['iters']):
    batch = _batch(comparison, i, model)
    if i == 0:
      _check_forward(comparison, model, whole.params, batch)
    chosen = step.phases_at(model, i)
    for phase in chosen:
      after, metrics, grads = compiled((phase,))(apart, {}, batch, rng)
      _check_phase(comparison, i, phase, metrics, grads[phase])
      apart = after.replace(step=apart.step)
    apart = apart.replace(step=apart.step + 1)
    whole, metrics, _ = compiled(chosen)(whole, {}, batch, rng)
    comparison.check('lr', f'lr{i}', metrics['lr'])
    for phase in chosen:
      _check_losses(comparison, i, phase, metrics)
    if comparison.keys(f'after{i + 1}/'):
      for state in (apart, whole):
        _check_after(comparison, f'after{i + 1}', state)


def _batch(
  comparison: Comparison, i: int, model: step.Model
) -> dict[str, jax.Array]:
  batch = {}
  for k in range(len(model.labels.sets)):
    inputs = comparison.take(f'input{i}/{k}/')
    # What the labels are completed with comes out of the code that is tested.
    span = model.labels.span(k)
    c_trg = floats(inputs['c_trg'][:, span])
    np.testing.assert_array_equal(
      model.labels.complete(k, c_trg), inputs['c_trg']
    )
    batch |= {
      f'x{k}': nhwc(inputs['x_real']),
      f'c{k}': floats(inputs['c_org'][:, span]),
      f'c_trg{k}': c_trg,
      f'alpha{k}': floats(inputs['alpha']),
    }
  return batch


def _check_forward(
  comparison: Comparison,
  model: step.Model,
  params: Mapping,
  batch: Mapping[str, jax.Array],
) -> None:
  labels = model.labels

  @jax.jit
  def run(params, x, c, c_trg):
    f = phases.inference(model, params)
    fake = f('generator', x, labels.complete(0, c_trg))
    rec = f('generator', fake, labels.complete(0, c))
    src, cls = f('discriminator', x)
    return fake, rec, src, cls

  inputs = (batch[key] for key in ('x0', 'c0', 'c_trg0'))
  fake, rec, src, cls = run(params, *inputs)
  comparison.check('forward', 'forward/fake', nchw(fake))
  comparison.check('forward', 'forward/rec', nchw(rec))
  comparison.check('forward', 'forward/src', src[:, None])
  comparison.check('forward', 'forward/cls', cls)


def _check_phase(
  comparison: Comparison,
  i: int,
  phase: str,
  metrics: Mapping[str, jax.Array],
  grads: Mapping[str, Mapping],
) -> None:
  """The losses and gradients of a phase of iteration i."""
  _check_losses(comparison, i, phase, metrics)
  for net, tree in grads.items():
    tensors = convert.to_tensors(official.names(net, tree), tree)
    prefix = f'grad{i}/{_name(phase)}/{net}/'
    if comparison.keys(prefix):
      comparison.check_grads(prefix, tensors)


def _name(phase: str) -> str:
  """A phase as the files name it: `<data set>/<d or g>`."""
  letter, _, rest = phase.partition('/')
  return f'{int(rest.startswith("joint_"))}/{letter.lower()}'


def _check_losses(
  comparison: Comparison,
  i: int,
  phase: str,
  metrics: Mapping[str, jax.Array],
) -> None:
  for key in comparison.keys(f'loss{i}/{_name(phase)}/'):
    term = key.rpartition('/')[2]
    comparison.check('loss', key, metrics[f'{phase}_{term}'])


def _check_after(comparison: Comparison, prefix: str, state: State) -> None:
  for name, tree in state.params.items():
    tensors = convert.to_tensors(official.names(name, tree), tree)
    comparison.check_after(f'{prefix}/{name}/', f'init/{name}/', tensors)
