"""StarGAN v2 and its relatives in JAX and Flax.

import jaxgan

model = jaxgan.load('runs/demo')
styles = model.latent_styles('square', 3, seed=0)
source = model.read('circle.png')
model.translate([source], 'square', styles)[0][0].save('square.png')

`jaxgan.SYSTEMS` names the systems. Nothing is imported before it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jaxgan.apps.trained_model import load as load
  from jaxgan.systems.contract import SYSTEMS as SYSTEMS

__version__ = '0.1.0'


def __getattr__(name: str) -> Any:
  if name == 'load':
    from jaxgan.apps.trained_model import load

    return load
  if name == 'SYSTEMS':
    from jaxgan.systems.contract import SYSTEMS

    return SYSTEMS
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
