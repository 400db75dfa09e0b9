"""What UNIT and MUNIT have in common beside their data and blocks.

Domain a is 0 and b is 1. A generator is the auto-encoders of both domains, a
discriminator has a part for each.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from ml_collections import ConfigDict

from jaxgan.losses import distances
from jaxgan.nets import blocks, convolutions, vgg
from jaxgan.runtime import errors
from jaxgan.systems import settings
from jaxgan.systems.frozen import Frozen
from jaxgan.systems.settings import Setting
from jaxgan.training import optim, phases, schedules, state
from jaxgan.training.phases import Phase
from jaxgan.training.state import State

Array = jax.Array
Batch = Mapping[str, Array]
Tree = Any


ACTIVATIONS = (*blocks.ACTIVATIONS, 'prelu')
SETTINGS = settings.extend(
  settings.BASE,
  {
    'batch_size': Setting(
      1, least=1, about='Images of each domain, of all devices together.'
    ),
    'data.val_split': 'test',
    'data.load_size': Setting(
      0, about='Shortest side before a square is cut; 0: img_size.'
    ),
    'model.input_dim_a': Setting(
      3, least=1, below=4, about='Channels of the first domain: 3, or 1: grey.'
    ),
    'model.input_dim_b': Setting(
      3, least=1, below=4, about='Channels of the second domain: 3, or 1: grey.'
    ),
    'model.vgg_file': Setting(
      '', about='Weights of VGG-16, where hparams.lambda_vgg is above 0.'
    ),
    'model.resample': Setting(
      'auto',
      among=('auto', *convolutions.RESAMPLE_FORMS),
      about='Form of convolutions that resample: speed, and rounding.',
    ),
    'optim.lr': Setting(1e-4, about='Learning rate.'),
    'optim.step_size': Setting(
      100_000, about='Iterations after which the rate falls; 0: never.'
    ),
    'optim.gamma': Setting(
      0.5, about='Share of itself that the rate falls to.'
    ),
    'optim.beta1': Setting(0.5, below=1, about='Of Adam: memory of the mean.'),
    'optim.beta2': Setting(
      0.999, below=1, about='Of Adam: memory of the squares.'
    ),
    'optim.weight_decay': Setting(1e-4, about='L2, inside the gradient.'),
  },
)


def check_config(config: ConfigDict) -> None:
  """Raises UserError for settings of two domains that cannot be together."""
  if config.model.num_domains not in (0, 2):
    raise errors.UserError(
      'config.model.num_domains must be 2, or 0 to take it from the data: '
      f'{config.model.num_domains}'
    )
  for letter in 'ab':
    channels = config.model[f'input_dim_{letter}']
    if channels == 2:
      raise errors.UserError(
        f'config.model.input_dim_{letter} must be 3, or 1 for grey: {channels}'
      )
  if config.hparams.lambda_vgg > 0:
    vgg.check_size(config.data.img_size, fourth_pool=True)


# Of MUNIT's blocks, which UNIT's later code has too: borders and activations of
# generators, and of discriminators with their norms; `gen` and `dis` there.
BLOCKS = {
  'model.pad_type': Setting(
    'reflect',
    among=tuple(convolutions.PADDINGS),
    about='Borders of the generators.',
  ),
  'model.activ': Setting(
    'relu', among=ACTIVATIONS, about='Activation of the generators.'
  ),
  'model.d_norm': Setting(
    'none', among=blocks.NORMS, about='Norm of the discriminators.'
  ),
  'model.d_activ': Setting(
    'lrelu', among=ACTIVATIONS, about='Activation of the discriminators.'
  ),
  'model.d_pad_type': Setting(
    'reflect',
    among=tuple(convolutions.PADDINGS),
    about='Borders of the discriminators.',
  ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
  """Networks, optimisers and constants; no numbers that are trained."""

  nets: Mapping[str, nn.Module]
  frozen_nets: Mapping[str, Callable[..., Any]]
  tx: Mapping[str, optax.GradientTransformation]
  micro_batches: int
  img_size: int
  channels: tuple[int, int]  # of the images of the domains, 3 or 1
  lr: float
  step_size: int  # iterations after which the rate falls; 0: never
  gamma: float  # to this share of itself
  steps_ahead: int  # iterations by which it falls earlier
  constants: Any  # `Weights` of the system's losses

  def weights(self, step: Array) -> Any:
    """The weights of the terms, the same in every iteration."""
    del step
    return self.constants

  def rates(self, step: Array) -> dict[str, Array]:
    """The learning rates of an iteration, one for both networks."""
    lr = schedules.step_decay(
      step + self.steps_ahead, self.lr, self.step_size, self.gamma
    )
    return {name: lr for name in self.nets}


def channels_of(config: ConfigDict) -> tuple[int, int]:
  """The channels of the images of the domains."""
  return config.model.input_dim_a, config.model.input_dim_b


def block_settings(
  config: ConfigDict, how: tuple[str, jax.typing.DTypeLike]
) -> tuple[tuple, tuple]:
  """What generator and discriminator of blocks take after their sizes.

  Args:
    config: all settings, those of BLOCKS among them.
    how: the form of convolutions, and the type of computation.
  """
  model, channels = config.model, channels_of(config)
  return (
    (*how, model.pad_type, model.activ, channels),
    (*how, model.d_pad_type, model.d_activ, model.d_norm, channels),
  )


def check_blocks(config: ConfigDict) -> None:
  """Raises UserError for settings of BLOCKS that cannot be with others."""
  model = config.model
  if model.d_norm == 'bn' and config.micro_batches > 1:
    raise errors.UserError(
      "config.micro_batches must be 1 with model.d_norm='bn', a norm of the "
      f'whole batch: {config.micro_batches}'
    )
  # After the last halving of the smallest image.
  side = config.data.img_size >> (model.d_layers + model.d_scales - 1)
  values = side**2 * (config.batch_size if model.d_norm == 'bn' else 1)
  if model.d_norm in ('bn', 'in') and model.d_layers > 1 and values < 2:
    raise errors.UserError(
      f'config.model.d_norm={model.d_norm!r} leaves nothing of a single pixel, '
      'which the last layer of the discriminators sees: take fewer '
      'model.d_layers or d_scales, or a larger data.img_size'
    )


def model_settings(config: ConfigDict, *, released: bool) -> dict[str, Any]:
  """What a `Model` takes of a config, beside its networks and weights.

  Args:
    config: all settings.
    released: as the code of MUNIT does, and that of UNIT without shared blocks:
      it counts an iteration before it is run, so that the rate falls one
      earlier, and its VGG lacks the fourth pool.
  """
  adam = config.optim
  tx = optim.adam(
    beta1=adam.beta1, beta2=adam.beta2, weight_decay=adam.weight_decay
  )
  features = partial(vgg.features, fourth_pool=not released)
  return {
    'frozen_nets': {'vgg': features} if config.hparams.lambda_vgg > 0 else {},
    'tx': {'generator': tx, 'discriminator': tx},
    'micro_batches': config.micro_batches,
    'img_size': config.data.img_size,
    'channels': channels_of(config),
    'lr': adam.lr,
    'step_size': adam.step_size,
    'gamma': adam.gamma,
    'steps_ahead': int(released),
  }


def init_params(
  nets: Mapping[str, nn.Module], rng: Array, *, img_size: int
) -> dict[str, Tree]:
  """Draws the parameters of generator and discriminator: {network: tree}."""
  x = jnp.zeros((1, img_size, img_size, 3))
  g_rng, d_rng = jax.random.split(rng)
  discriminator = nets['discriminator'].init(d_rng, x, method='both')
  return {
    'generator': nets['generator'].init(g_rng, x)['params'],
    'discriminator': discriminator['params'],
  }


def init_state(model: Model, rng: Array) -> State:
  """A fresh state."""
  params = init_params(model.nets, rng, img_size=model.img_size)
  return state.create(params, dict(model.tx))


def inference_params(state: State) -> dict[str, Tree]:
  """The parameters to sample and evaluate with: there are no averages."""
  return {'generator': state.params['generator']}


def update(
  phase_list: Sequence[Phase],
  model: Model,
  state: State,
  frozen: Tree,
  batch: Batch,
  rng: Array,
  *,
  relative: Sequence[str],
) -> phases.Result:
  """One iteration on a batch with all that is drawn for it.

  Args:
    phase_list: of the system, named D/loss and G/loss.
    model: networks, optimisers and constants.
    state: before.
    frozen: parameters of VGG, where lambda_vgg > 0.
    batch: x_a, x_b [B, S, S, 3] in [-1, 1] and what the losses draw.
    rng: key of the iteration, for draws inside of networks.
    relative: terms of the generators that are logged as `G/<term>`, in units of
      how far two real images are apart.
  """
  # The networks see grey in any case: this is for what they are compared with.
  batch = dict(batch)
  for key, channels in zip(('x_a', 'x_b'), model.channels, strict=True):
    batch[key] = blocks.as_rgb(blocks.of_channels(batch[key], channels))
  lr = model.rates(state.step)
  w = model.weights(state.step)
  result = phases.run(phase_list, model, state, frozen, batch, rng, lr=lr, w=w)
  metrics = {'lr': lr['generator'], **result.metrics}
  # A ratio of means over the whole batch: the same in any number of
  # micro-batches.
  scale = distances.real_scale(batch['x_a'], batch['x_b'])
  for key in relative:
    metrics[f'G/{key}'] = metrics.pop(f'G/loss_{key}') / scale
  after = result.state.replace(step=result.state.step + 1)
  return result._replace(state=after, metrics=metrics)


def _load_vgg(config: ConfigDict) -> Tree:
  """Raises UserError where config.model.vgg_file is none."""
  if not config.model.vgg_file:
    raise errors.UserError(
      'config.hparams.lambda_vgg > 0 needs VGG-16: give its weights with '
      '--config.model.vgg_file=vgg16-397923af.pth (curl -LO '
      'https://download.pytorch.org/models/vgg16-397923af.pth), or train '
      'without with --config.hparams.lambda_vgg=0'
    )
  return vgg.load(config.model.vgg_file)


FROZEN = (
  Frozen(
    'vgg',
    lambda config: config.hparams.lambda_vgg > 0,
    _load_vgg,
    partial(vgg.check, where='frozen.npz'),
  ),
)
