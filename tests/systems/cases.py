"""A small case of every system, for what holds of all of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tests import (
  tiny,
  tiny_munit,
  tiny_pix2pix,
  tiny_stargan,
  tiny_two_domains,
  tiny_unit,
)


class Case(NamedTuple):
  """What the battery has to be told of a system.

  Attributes:
    name: of the system, one of `contract.SYSTEMS`.
    config: (**overrides) -> the settings, small enough to compile in seconds.
    found: overrides that the data would add.
    steps: {iteration: the networks that it steps}, an iteration of each answer
      that `phases_at` has.
    drawn: metrics of every answer that the draws of an iteration change.
    fixed: metrics of every answer that they do not change.
    untold: signs of collapse that the case cannot show.
    largest: number in an output.
  """

  name: str
  config: Callable[..., ConfigDict]
  found: Mapping[str, Any]
  steps: Mapping[int, tuple[str, ...]]
  drawn: tuple[str, ...]
  fixed: tuple[str, ...]
  untold: tuple[str, ...] = ()
  largest: float = 1.0


_BOTH = ('discriminator', 'generator')

CASES = (
  Case(
    'stargan_v2',
    tiny.config,
    {'model__num_domains': tiny.DOMAINS},
    {0: (*_BOTH, 'mapping_network', 'style_encoder')},
    drawn=('D/latent_fake', 'D/ref_fake'),
    fixed=('D/latent_real',),
    largest=10.0,  # no tanh at the end
  ),
  Case(
    'stargan',
    tiny_stargan.config,
    tiny_stargan.DOMAINS,
    {0: ('discriminator',), 1: _BOTH},
    drawn=('D/loss_gp',),
    fixed=('D/loss_real', 'D/loss_cls'),
    untold=('G/joint_change',),  # of a second data set
  ),
  Case(
    'unit',
    tiny_unit.config,
    tiny_two_domains.DOMAINS,
    {0: _BOTH},
    drawn=('G/change_a', 'G/loss_x_b'),
    fixed=('G/loss_kl_a',),
  ),
  Case(
    'munit',
    tiny_munit.config,
    tiny_two_domains.DOMAINS,
    {0: _BOTH},
    drawn=('G/change_a', 'G/loss_s_b'),
    fixed=('G/loss_x_a',),
  ),
  Case(
    'pix2pix',
    tiny_pix2pix.config,
    # Six levels: with fewer there is no dropout, and nothing is drawn.
    tiny_pix2pix.DOMAINS | {'data__img_size': 64, 'model__depth': 6},
    {0: _BOTH},
    drawn=('D/loss_fake', 'G/loss_l1'),
    fixed=('D/loss_real',),
  ),
)
