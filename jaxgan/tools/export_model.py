r"""Writes a run as programs that need JAX alone, and not this package.

python -m jaxgan.tools.export_model --workdir=DIR --out=DIR [--step=latest]

OUT receives reference.jaxexport and latent.jaxexport (of a system without
styles label.jaxexport), StableHLO with the weights inside, for CPU, CUDA and
TPU and batches of any size, and model.json, which says what they take and how
to call them.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import jax
from absl import flags
from etils import epath

from jaxgan.apps import trained_model
from jaxgan.inference import translator
from jaxgan.runtime import cli, errors, files, host

_WORKDIR = cli.define_path('workdir', None, 'Work directory of the run.')
_OUT = cli.define_path('out', None, 'Folder for the files.')
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')

_IMAGES = 'float32 [B, {0}, {0}, 3], RGB in [-1, 1]'
_CALL = (
  'from jax import export',
  "data = open('{name}.jaxexport', 'rb').read()",
  'program = export.deserialize(bytearray(data))',
  'image = program.call({inputs})',
)


def main() -> None:
  """Writes the programs, and model.json last of all."""
  for flag in (_WORKDIR, _OUT):
    if not flag.value:
      raise errors.UsageError(f'--{flag.name} is missing: see --help')
  model = trained_model.load(_WORKDIR.value, cli.parse_step(_STEP.value))
  print(*host.device_lines(model.dtype), sep='\n', flush=True)
  made = {f'{name}.jaxexport': data for name, data in model.export().items()}
  about = _describe(model, [name.partition('.')[0] for name in made])
  made['model.json'] = (json.dumps(about, indent=2) + '\n').encode()
  out = epath.Path(_OUT.value)
  for name in made:
    if (out / name).exists():
      raise errors.UserError(f'{out / name} exists: take another --out')
  try:
    out.mkdir(parents=True, exist_ok=True)
    for name, data in made.items():
      files.write_whole(out / name, data)
      print(f'wrote {out / name}: {len(data):,} bytes', flush=True)
  except OSError as e:
    raise errors.UserError(f'cannot write to {out} ({e})') from e


def _describe(
  model: trained_model.Model, programs: Sequence[str]
) -> dict[str, Any]:
  images = _IMAGES.format(model.img_size)
  domains = ', '.join(f'{i} {name}' for i, name in enumerate(model.domains))
  reference = ' (that of x_ref)' if 'reference' in programs else ''
  inputs = {
    'x': f'the sources, {images}',
    'x_ref': f'the references, {images}',
    'z': f'the latents, float32 [B, {model.latent_dim}], standard normal',
    'y': f'the target domain{reference}, int32 [B]: {domains}',
  }
  taken = {name: translator.PROGRAM_INPUTS[name] for name in programs}
  used = {key for keys in taken.values() for key in keys}
  return {
    'step': model.step,
    'domains': model.domains,
    'img_size': model.img_size,
    'latent_dim': model.latent_dim,
    'inputs': {key: text for key, text in inputs.items() if key in used},
    'output': f'{images}; clip what lies outside',
    'call': {
      name: [line.format(name=name, inputs=', '.join(keys)) for line in _CALL]
      for name, keys in taken.items()
    },
    'platforms': trained_model.PLATFORMS,
    'jax': jax.__version__,
  }


if __name__ == '__main__':
  cli.run(main, sys.argv)
