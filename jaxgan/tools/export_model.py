r"""Writes a run as programs that need JAX alone, and not this package.

python -m jaxgan.tools.export_model --workdir=DIR --out=DIR [--step=latest]

OUT receives reference.jaxexport and latent.jaxexport, StableHLO with the
weights inside, for CPU, CUDA and TPU and batches of any size, and model.json,
which says what they take and how to call them.
"""

import json
import sys
from typing import Any

import jax
from absl import flags
from etils import epath

from jaxgan import cli, errors, files, translation

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work directory of the run.')
_OUT = flags.DEFINE_string('out', None, 'Folder for the files.')
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')

_IMAGES = 'float32 [B, {0}, {0}, 3], RGB in [-1, 1]'
_CALL = (
  'from jax import export',
  "data = open('{name}.jaxexport', 'rb').read()",
  'program = export.deserialize(bytearray(data))',
  'image = program.call(x, {style}, y)',
)


def main() -> None:
  """Writes the programs, and model.json last of all."""
  for flag in (_WORKDIR, _OUT):
    if not flag.value:
      raise errors.UsageError(f'--{flag.name} is missing: see --help')
  model = translation.load(_WORKDIR.value, cli.parse_step(_STEP.value))
  made = {f'{name}.jaxexport': data for name, data in model.export().items()}
  made['model.json'] = (json.dumps(_describe(model), indent=2) + '\n').encode()
  out = epath.Path(_OUT.value)
  for name in made:
    if (out / name).exists():
      raise errors.UserError(
        f'{out / name} exists: take another --out, or remove it'
      )
  try:
    out.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
      files.write_whole(out / name, data)
      print(f'wrote {out / name}: {len(data):,} bytes', flush=True)
  except OSError as e:
    raise errors.UserError(f'cannot write to {out} ({e})') from e


def _describe(model: translation.Model) -> dict[str, Any]:
  images = _IMAGES.format(model.img_size)
  domains = ', '.join(f'{i} {name}' for i, name in enumerate(model.domains))
  return {
    'step': model.step,
    'domains': model.domains,
    'img_size': model.img_size,
    'latent_dim': model.latent_dim,
    'inputs': {
      'x': f'the sources, {images}',
      'x_ref': f'the references, {images}',
      'z': f'the latents, float32 [B, {model.latent_dim}], standard normal',
      'y': f'the target domain (that of x_ref), int32 [B]: {domains}',
    },
    'output': f'{images}; clip what lies outside',
    'call': {
      name: [line.format(name=name, style=style) for line in _CALL]
      for name, style in (('reference', 'x_ref'), ('latent', 'z'))
    },
    'platforms': translation.PLATFORMS,
    'jax': jax.__version__,
  }


if __name__ == '__main__':
  cli.run(main, sys.argv)
