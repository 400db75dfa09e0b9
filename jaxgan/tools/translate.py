r"""Translates pictures with a trained run.

python -m jaxgan.tools.translate --workdir=DIR --src=PICTURES --out=DIR \
    (--ref=PICTURES [--domain=NAME] | --domain=NAME --num_latents=N) [--video]

and, of a system that has one output for a source and a domain (StarGAN),

python -m jaxgan.tools.translate --workdir=DIR --src=PICTURES --out=DIR \
    [--domain=NAME]

PICTURES are files and folders, also nested, of pictures of any size: JPEG, PNG,
WebP, BMP, TIFF, GIF (the first frame), AVIF, and HEIC with pillow-heif.
Several are separated by commas, or each has the flag again; a path that exists
is taken whole, commas and all. A picture is seen as in training, and squeezed
into a square if it is none; --crop takes the largest square in its middle
instead. Results are as large as the run's img_size; --keep_size gives them the
size and shape of what was seen of the source. A source that is see-through has
results that are.

OUT receives <source>_to_<domain>_<reference>.png, or ..._seed<S>_<n>.png for
latent n of a seed, or ..._to_<domain>.png, in the subfolders that sources have
in the folder that was given; and grid.png: sources above, styles to the left,
the first 16 of each. --video adds video.mp4: the style moves through all
references, or latents, and back to the first. Nothing is overwritten. A source
that cannot be read is named and left out, and the exit status is 1.

--src=clip.mp4 (also .mov, .m4v, .webm, .mkv, .avi) translates every frame, and
OUT receives an .mp4 for each style, with the sound of the clip.
"""

import sys

from absl import flags

from jaxgan.apps import trained_model, translate_files
from jaxgan.runtime import cli, errors, host

_WORKDIR = cli.define_path('workdir', None, 'Work directory of the run.')
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
_SRC = cli.define_paths('src', None, 'Files and folders to translate.')
_OUT = cli.define_path('out', None, 'Folder for the results.')
_REF = cli.define_paths('ref', None, 'Files and folders to take styles from.')
_DOMAIN = flags.DEFINE_string(
  'domain',
  None,
  'The target. If this is not given, references are of the domain whose name '
  'their folder has, and a system without styles takes all domains.',
)
_NUM_LATENTS = cli.define_integer(
  'num_latents', None, 'How many styles to draw.', lower_bound=1
)
_SEED = cli.define_integer(
  'seed', 0, 'Of the latents.', lower_bound=0, upper_bound=2**31 - 1
)
_PSI = cli.define_float(
  'psi',
  None,
  'Truncation of latents: 0 is the mean style of the domain, 1 is none. Not '
  'given it is what is usual for the system.',
  lower_bound=0,
)
_CROP = flags.DEFINE_bool(
  'crop', False, 'Take the middle of a picture instead of squeezing it.'
)
_KEEP_SIZE = flags.DEFINE_bool(
  'keep_size',
  False,
  'Results have the size and shape of their source, or of the part of it that '
  'is seen.',
)
_ALPHA = flags.DEFINE_bool(
  'alpha', True, 'Results are see-through where their source is.'
)
_SRC_LABEL = cli.define_names(
  'src_label',
  None,
  'The attributes that all sources have, of a run with attributes (StarGAN); '
  'empty for none. Not given, the classifier of the run tells them.',
)
_VIDEO = flags.DEFINE_bool('video', False, 'Write video.mp4 as well.')
_FPS = cli.define_integer(
  'fps',
  translate_files.Video().fps,
  'Frames of the video a second.',
  lower_bound=1,
)
_FRAMES = cli.define_integer(
  'frames',
  translate_files.Video().frames,
  'Frames from one style to the next.',
  lower_bound=1,
)


def main() -> int:
  """Translates the files that the flags name; returns the exit status."""
  directory, src = cli.required(_WORKDIR), cli.required(_SRC)
  out = cli.required(_OUT)
  labels = 'label' in trained_model.style_kinds(directory)
  if labels:
    _check_no_style_flags()
  else:
    _check_flags()
  sources = translate_files.find_sources(src)
  references = translate_files.find(_REF.value or ())
  step = cli.parse_step(_STEP.value)
  model = trained_model.load(directory, step, crop=_CROP.value)
  if _SRC_LABEL.value is not None:
    model.check_source_label(_SRC_LABEL.value)
  print(*host.device_lines(model.dtype), sep='\n', flush=True)
  if labels:
    if not _DOMAIN.value and model.sources == 'other':
      raise errors.UsageError(
        'give --domain: what is translated is taken to be of the other one of '
        f'{" and ".join(model.domains)}'
      )
    domains = [_DOMAIN.value] if _DOMAIN.value else model.domains
    styles = translate_files.label_styles(model, domains)
  elif references:
    styles = translate_files.reference_styles(model, references, _DOMAIN.value)
    if model.sources == 'other' and len({style.domain for style in styles}) > 1:
      raise errors.UsageError(
        'give --domain: references are of both domains, and what is translated '
        'is taken to be of the other one than theirs'
      )
  else:
    styles = translate_files.latent_styles(
      model,
      cli.required(_DOMAIN),
      cli.required(_NUM_LATENTS),
      seed=_SEED.value,
      psi=_PSI.value,
    )
  video = (
    translate_files.Video(_FPS.value, _FRAMES.value) if _VIDEO.value else None
  )
  options = translate_files.Options(
    _KEEP_SIZE.value, _ALPHA.value, _SRC_LABEL.value
  )
  all_read = translate_files.translate(
    model, sources, styles, out, video, options
  )
  return int(not all_read)


def _check_no_style_flags() -> None:
  for flag in (_REF, _NUM_LATENTS, _SEED, _PSI, _VIDEO, _FPS, _FRAMES):
    if flag.present:
      raise errors.UsageError(
        f'--{flag.name} is of systems with styles, and this run has one output '
        'for a source and a domain: leave it out'
      )


def _check_flags() -> None:
  if bool(_REF.value) == bool(_NUM_LATENTS.value):
    raise errors.UsageError('give either --ref or --num_latents: see --help')
  if _NUM_LATENTS.value and not _DOMAIN.value:
    raise errors.UsageError('--num_latents needs --domain')
  for group, user in (
    ((_SEED, _PSI), _NUM_LATENTS),
    ((_FPS, _FRAMES), _VIDEO),
  ):
    for flag in group:
      if flag.present and not user.value:
        raise errors.UsageError(f'--{flag.name} is of --{user.name}')


def run() -> None:
  """The command jaxgan-translate."""
  cli.run(main, sys.argv)


if __name__ == '__main__':
  run()
