r"""Writes a run as programs that need JAX alone, and not this package.

python -m jaxgan.tools.export_model --workdir=DIR --out=DIR [--step=latest] \
    [--onnx]

OUT receives reference.jaxexport and latent.jaxexport (of a system without
styles label.jaxexport), StableHLO with the weights inside, for CPU, CUDA and
TPU and batches of any size, and model.json, which says what they take and how
to call them. --onnx adds reference.onnx and latent.onnx (label.onnx), which
need ONNX Runtime alone; each is compared with the program it is made of.
"""

import importlib.metadata
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags
from etils import epath

from jaxgan.apps import onnx_programs, trained_model
from jaxgan.inference import translator
from jaxgan.runtime import cli, errors, files, host

_WORKDIR = cli.define_path('workdir', None, 'Work directory of the run.')
_OUT = cli.define_path('out', None, 'Folder for the files.')
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
_ONNX = flags.DEFINE_bool(
  'onnx', False, 'Write ONNX programs as well; needs jax2onnx.'
)

_IMAGES = 'float32 [B, {0}, {0}, 3], RGB in [-1, 1]'
_CALL = (
  'from jax import export',
  "data = open('{name}.jaxexport', 'rb').read()",
  'program = export.deserialize(bytearray(data))',
  'image = program.call({inputs})',
)

_CALL_ONNX = (
  'import onnxruntime',
  "session = onnxruntime.InferenceSession('{name}.onnx')",
  'image, = session.run(None, {{{inputs}}})',
)


def main() -> None:
  """Writes the programs, and model.json last of all."""
  for flag in (_WORKDIR, _OUT):
    if not flag.value:
      raise errors.UsageError(f'--{flag.name} is missing: see --help')
  if _ONNX.value:
    onnx_programs.import_libraries()  # an error before the work
  model = trained_model.load(_WORKDIR.value, cli.parse_step(_STEP.value))
  print(*host.device_lines(model.dtype), sep='\n', flush=True)
  programs = model.export()
  made = {f'{name}.jaxexport': data for name, data in programs.items()}
  about = _describe(model, [*programs])
  if _ONNX.value:
    converted = model.export_onnx()
    made |= {f'{name}.onnx': onnx.data for name, onnx in converted.items()}
    about |= _describe_onnx(converted)
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


def _describe_onnx(
  converted: Mapping[str, onnx_programs.Converted],
) -> dict[str, Any]:
  inputs = {
    name: ', '.join(f"'{key}': {key}" for key in keys)
    for name, keys in translator.PROGRAM_INPUTS.items()
  }
  return {
    'call_onnx': {
      name: [line.format(name=name, inputs=inputs[name]) for line in _CALL_ONNX]
      for name in converted
    },
    'onnx_difference': {name: c.difference for name, c in converted.items()},
    'jax2onnx': importlib.metadata.version('jax2onnx'),
  }


if __name__ == '__main__':
  cli.run(main, sys.argv)
