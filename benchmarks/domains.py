"""Times what grows with the number of domains.

  python -m benchmarks.domains --config=configs/stargan_v2/shapes.py \\
    [--domains=2,10,100,1000] [--config.model.hidden_dim=512] [--steps=N] \\
    [--warmup=N] [--whole_step]

prints a Markdown table, a row for each number of domains, and, as the last line
of stdout, the rows as one line of JSON. Times are medians in ms:

  all heads, selected: forward and backward pass of the mapping network and of
    the heads of style encoder and discriminator on one batch, with
    config.model.select_heads False and True, in turns
  optimiser: the update of the same parameters
  step all heads, step selected: the whole training step (--whole_step)

The trunks of style encoder and discriminator, which do not grow, are in the
whole step only.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from absl import flags
from ml_collections import config_flags

from benchmarks import common
from jaxgan.nets import layers
from jaxgan.runtime import cli, errors
from jaxgan.systems import contract

_CONFIG = config_flags.DEFINE_config_file('config', None, 'The config to time.')
_DOMAINS = flags.DEFINE_list(
  'domains', ['2', '10', '100', '1000'], 'Numbers of domains.'
)
_STEPS = flags.DEFINE_integer('steps', 30, 'Timed runs of each.', 1)
_WARMUP = flags.DEFINE_integer('warmup', 3, 'Runs before the timed ones.', 0)
_WHOLE_STEP = flags.DEFINE_bool('whole_step', False, 'Time the step as well.')
flags.mark_flag_as_required('config')

_SIDES = {'all heads': False, 'selected': True}


def main() -> None:
  """Prints a row for each number of domains."""
  # A compilation found in a cache would not be one to time.
  jax.config.update('jax_enable_compilation_cache', False)
  for name, value in common.describe_machine().items():
    print(f'{name}: {value}')
  others = common.OtherProcesses()
  common.print_records(_measure(_CONFIG.value, others))


def _measure(
  config: ml_collections.ConfigDict, others: common.OtherProcesses
) -> Iterator[dict[str, Any]]:
  counts = _parse_counts()
  for count in counts:
    config.model.num_domains = count
    record, sides = {'domains': count}, {}
    for name, select in _SIDES.items():
      config.model.select_heads = select
      heads = Heads(config)
      record['parameters'] = heads.num_params
      sides[name] = heads.backward
    sides['optimiser'] = heads.update
    if _WHOLE_STEP.value:
      batch = contract.get_system(config).example_batch(config)
      for name, select in _SIDES.items():
        config.model.select_heads = select
        sides[f'step {name}'] = common.Ours(config, batch).step
    times = common.time_in_turns(sides, _STEPS.value, _WARMUP.value)
    for name, values in times.items():
      record[f'{name} ms'] = round(statistics.median(values), 3)
    record['other processes'] = others.describe()
    yield record


def _parse_counts() -> list[int]:
  try:
    counts = [int(text) for text in _DOMAINS.value]
  except ValueError:
    counts = []
  if not counts or min(counts) < 1:
    raise errors.UsageError(
      f'--domains={",".join(_DOMAINS.value)} are not numbers of domains'
    )
  return counts


class Heads:
  """What is there once for each domain: parameters, passes, update."""

  def __init__(self, config: ml_collections.ConfigDict):
    """Draws parameters and inputs; compiles at the first call."""
    init_fn, static = contract.get_system(config).create_training(config)

    def draw(key):
      params = _parts(init_fn(key).params)
      return params, {k: static['tx'][k].init(v) for k, v in params.items()}

    self._params, self._opt_state = jax.jit(draw)(jax.random.key(config.seed))
    self._backward = jax.jit(jax.grad(_loss_fn(config, static['nets'])))
    self._update = jax.jit(_update_fn(static['tx']), donate_argnums=(0, 1))
    self._inputs = _inputs(config, self._params)
    self._grads = None

  @property
  def num_params(self) -> int:
    """Of all of it."""
    return sum(x.size for x in jax.tree.leaves(self._params))

  def backward(self) -> None:
    """The gradient of all parameters."""
    self._grads = jax.block_until_ready(
      self._backward(self._params, *self._inputs)
    )

  def update(self) -> None:
    """Steps the parameters along the last gradient."""
    if self._grads is None:
      self.backward()
    self._params, self._opt_state = jax.block_until_ready(
      self._update(self._params, self._opt_state, self._grads)
    )


def _parts(params: Mapping[str, Any]) -> dict[str, Any]:
  """The mapping network, and of the others the heads."""
  parts = {'mapping_network': params['mapping_network']}
  for name in ('style_encoder', 'discriminator'):
    parts[name] = {'heads': params[name]['heads']}
  return parts


def _inputs(
  config: ml_collections.ConfigDict, params: Mapping[str, Any]
) -> tuple[jax.Array, ...]:
  """Latents, features of the trunks, domains."""
  z_key, h_key, y_key = jax.random.split(jax.random.key(config.seed), 3)
  batch_size, model = config.batch_size, config.model
  width = params['style_encoder']['heads']['kernel'].shape[1]
  return (
    jax.random.normal(z_key, (batch_size, model.latent_dim)),
    jax.random.normal(h_key, (batch_size, width), model.dtype),
    jax.random.randint(y_key, (batch_size,), 0, model.num_domains),
  )


def _loss_fn(
  config: ml_collections.ConfigDict, nets: Any
) -> Callable[..., jax.Array]:
  """(params, z, h, y) -> a number that depends on all of it."""
  model = config.model
  wide = layers.at_least_float32(model.dtype)

  def apply_heads(tree, h, y, dtype):
    features = tree['heads']['kernel'].shape[-1]
    heads = layers.StackedDense(
      model.num_domains, features, select=model.select_heads, dtype=dtype
    )
    return heads.apply({'params': tree['heads']}, h, y)

  def loss(params, z, h, y):
    outputs = (
      nets.mapping_network.apply({'params': params['mapping_network']}, z, y),
      apply_heads(params['style_encoder'], h, y, jnp.dtype(model.dtype)),
      apply_heads(params['discriminator'], h, y, wide),
    )
    return sum(jnp.mean(jnp.square(x.astype(wide))) for x in outputs)

  return loss


def _update_fn(tx: Mapping[str, optax.GradientTransformation]) -> Callable:
  """(params, opt_state, grads) -> (params, opt_state)."""

  def update(params, opt_state, grads):
    for name, grad in grads.items():
      updates, new = tx[name].update(grad, opt_state[name], params[name])
      opt_state = {**opt_state, name: new}
      params = {**params, name: optax.apply_updates(params[name], updates)}
    return params, opt_state

  return update


if __name__ == '__main__':
  cli.run(main, sys.argv)
