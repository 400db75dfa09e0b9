r"""Puts a run on the Hugging Face hub, with a model card, for others to use.

python -m jaxgan.tools.upload --workdir=DIR --license=ID --repo=USER/NAME \
    [--step=N] [--private] [--nosamples]
python -m jaxgan.tools.upload --workdir=DIR --license=ID --out=FOLDER

With --out the folder is only written, to be looked at; nothing is sent, and no
other package is needed. It holds a checkpoint, its settings without the places
of your machine, the sample grids, which show pictures of your data (--nosamples
leaves them out), and README.md, made of what the report shows. Others open it
by jaxgan.load('hf://USER/NAME'), and tools by --workdir=hf://USER/NAME.
"""

import sys
import tempfile

from absl import flags
from etils import epath

from jaxgan.apps import sharing
from jaxgan.runs import hub
from jaxgan.runtime import cli, errors, files

_WORKDIR = cli.define_path('workdir', None, 'Work directory of the run.')
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
_REPO = flags.DEFINE_string('repo', '', 'Repository of the hub: USER/NAME.')
_OUT = cli.define_path('out', None, 'Write the folder here; send nothing.')
_LICENSE = flags.DEFINE_string(
  'license', '', 'Of the weights, by the name it has on the hub.'
)
_PRIVATE = flags.DEFINE_bool('private', False, 'Make a private repository.')
_SAMPLES = flags.DEFINE_bool('samples', True, 'Take the sample grids along.')


def main() -> None:
  """Writes the folder, and sends it unless it is to be looked at."""
  directory = cli.required(_WORKDIR)
  if not _LICENSE.value:
    raise errors.UsageError(
      '--license is missing: name the licence of the weights as the hub does '
      '(apache-2.0, cc-by-nc-4.0, other)'
    )
  if bool(_REPO.value) == bool(_OUT.value):
    raise errors.UsageError('give either --repo or --out: see --help')
  if _OUT.value:
    _prepare(directory, _OUT.value)
    print(f'wrote {_OUT.value}, and sent nothing: look at its README.md')
    return
  hub.check_repo(_REPO.value)
  hub.import_library()
  with tempfile.TemporaryDirectory(prefix='jaxgan_upload_') as folder:
    step = _prepare(directory, folder)
    address = hub.upload(
      epath.Path(folder), _REPO.value, private=_PRIVATE.value
    )
  print(f'step {step} is at {address}')


def _prepare(directory: str, folder: str) -> int:
  return sharing.prepare(
    files.user_path(directory),
    folder,
    licence=_LICENSE.value,
    repo=_REPO.value,
    step=cli.parse_step(_STEP.value),
    samples=_SAMPLES.value,
  )


if __name__ == '__main__':
  cli.run(main, sys.argv)
