"""Serves a page that translates pictures with a run, in the browser.

python -m jaxgan.tools.studio --workdir=DIR [--step=N] [--port=7860]

Needs `pip install -r requirements-studio.txt`. The page is for this machine
alone unless --host=0.0.0.0 opens it to others. What is uploaded, and made, is
in a temporary directory that goes with the program; no other file is served.
"""

import os
import pathlib
import sys
import tempfile
import time

from absl import flags
from etils import epath
from PIL import Image

from jaxgan import cli, errors, translation, workdir
from jaxgan.data import preprocess, sources

_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Work directory of the run.', required=True
)
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
_CROP = flags.DEFINE_bool(
  'crop', False, 'Take the middle of pictures that are no squares.'
)
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to serve at.')
_PORT = flags.DEFINE_integer(
  'port', None, 'Port to serve at; default the first free one from 7860.'
)


def main() -> None:
  """Opens the run and serves the page until Ctrl-C."""
  # Gradio opens uploads before they are looked at here; Pillow refuses what is
  # twice as large as this.
  Image.MAX_IMAGE_PIXELS = preprocess.MAX_PIXELS // 2
  # A chunk of one: each picture is to be seen as soon as it is there.
  model = translation.load(
    _WORKDIR.value,
    cli.parse_step(_STEP.value),
    crop=_CROP.value,
    chunk=1,
  )
  with tempfile.TemporaryDirectory(prefix='jaxgan_studio_') as directory:
    # Read when Gradio is imported.
    os.environ['GRADIO_TEMP_DIR'] = f'{directory}/served'
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
      from jaxgan import studio
    except ImportError as e:
      raise errors.UserError(
        f'the studio needs Gradio ({e}): pip install -r requirements-studio.txt'
      ) from e
    page = _build(studio, model, pathlib.Path(directory))
    try:
      page.queue(max_size=64).launch(
        server_name=_HOST.value,
        server_port=_PORT.value,
        max_file_size=sources.MAX_BYTES,
        theme=studio.THEME,
        css=studio.CSS,
        footer_links=[],
        quiet=True,
        prevent_thread_lock=True,
        enable_monitoring=False,
      )
    except OSError as e:  # the port is taken
      raise errors.UserError(str(e).partition('\n')[0]) from e
    print(f'studio: {page.local_url} (Ctrl-C ends it)', flush=True)
    page.block_thread()


def _build(studio, model: translation.Model, directory: pathlib.Path):
  """The page, when all that it computes is compiled."""
  config = workdir.require_config(epath.Path(_WORKDIR.value))
  samples = studio.load_samples(config, directory)
  functions = studio.Studio(model, directory)
  start = time.monotonic()
  functions.warm_up()
  print(f'ready in {time.monotonic() - start:.0f} s', flush=True)
  name = epath.Path(_WORKDIR.value).resolve().name
  return studio.build(functions, samples, f'{name}, step {model.step}')


if __name__ == '__main__':
  cli.run(main, sys.argv)
