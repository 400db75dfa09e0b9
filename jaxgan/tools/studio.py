"""Serves a page that translates pictures with a run, in the browser.

python -m jaxgan.tools.studio --workdir=DIR [--step=N] [--port=7860]

Needs Gradio, `pip install "gradio>=6.0,<7"`. The page is for this machine alone
unless --host=0.0.0.0 opens it to others. What is uploaded, and made, is
in a temporary directory that goes with the program; no other file is served.
"""

import os
import pathlib
import signal
import socket
import sys
import tempfile
import time

from absl import flags

from jaxgan.apps import trained_model
from jaxgan.data import sources
from jaxgan.runs import hub, workdir
from jaxgan.runtime import cli, errors, host

_WORKDIR = cli.define_path(
  'workdir', None, 'Work directory of the run.', required=True
)
_STEP = flags.DEFINE_string('step', 'latest', 'Step of the checkpoint.')
_CROP = flags.DEFINE_bool(
  'crop', False, 'Take the middle of pictures that are no squares.'
)
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to serve at.')
_PORT = cli.define_integer(
  'port',
  None,
  'Port to serve at; default the first free one from 7860.',
  1,
  65535,
)


def main() -> None:
  """Opens the run and serves the page until Ctrl-C."""
  _check_address(_HOST.value, _PORT.value)
  # However it ends, what was uploaded goes.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  # A chunk of one: each picture is to be seen as soon as it is there.
  model = trained_model.load(
    _WORKDIR.value,
    cli.parse_step(_STEP.value),
    crop=_CROP.value,
    chunk=1,
  )
  print(*host.device_lines(model.dtype), sep='\n', flush=True)
  with tempfile.TemporaryDirectory(prefix='jaxgan_studio_') as directory:
    _set_gradio(directory)
    try:
      with host.without_proxies():  # read by clients that it makes at once
        from jaxgan.apps import studio
    except ImportError as e:
      raise errors.UserError(
        f'the studio needs Gradio ({e}): pip install "gradio>=6.0,<7"'
      ) from e
    page = _build(studio, model, pathlib.Path(directory))
    # Gradio asks whether its own page is there.
    with host.without_proxies():
      _serve(studio, page)


def _set_gradio(directory: str) -> None:
  """Sets what Gradio reads of the environment when it is imported."""
  # Of others' settings none: GRADIO_ALLOWED_PATHS would open files, and
  # GRADIO_ROOT_PATH or GRADIO_NUM_PORTS change the address.
  for name in [name for name in os.environ if name.startswith('GRADIO_')]:
    del os.environ[name]
  os.environ['GRADIO_TEMP_DIR'] = f'{directory}/served'
  os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'


def _serve(studio, page) -> None:
  """Serves the page until Ctrl-C."""
  try:
    # Without its open API, which goes past the queue.
    page.queue(max_size=64, api_open=False).launch(
      server_name=_HOST.value,
      server_port=_PORT.value,
      max_file_size=sources.MAX_BYTES,
      theme=studio.THEME,
      css=studio.CSS,
      footer_links=[],
      share=False,
      quiet=True,
      prevent_thread_lock=True,
      enable_monitoring=False,
    )
  except OSError as e:  # of no free port
    raise errors.UserError(
      'no port from 7860 to 7959 can be had: give one with --port'
    ) from e
  print(f'studio: {page.local_url} (Ctrl-C ends it)', flush=True)
  page.block_thread()


def _check_address(host: str, port: int | None) -> None:
  """Raises UserError where nothing can be served at it."""
  try:
    family, kind, _, _, address = socket.getaddrinfo(
      host, port or 0, socket.AF_INET, socket.SOCK_STREAM
    )[0]
    with socket.socket(family, kind) as probe:
      probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      probe.bind(address)
  except OSError as e:
    where = f'--host={host}' + (f' --port={port}' if port else '')
    raise errors.UserError(f'{where} cannot be had ({e})') from e


def _build(studio, model: trained_model.Model, directory: pathlib.Path):
  """The page, when all that it computes is compiled."""
  directory_of_run = hub.locate(_WORKDIR.value)
  config = workdir.require_config(directory_of_run)
  samples = studio.load_samples(config, directory)
  functions = studio.Studio(model, directory)
  start = time.monotonic()
  functions.warm_up()
  print(f'ready in {time.monotonic() - start:.0f} s', flush=True)
  name = _WORKDIR.value
  if not name.startswith(hub.PREFIX):
    name = directory_of_run.resolve().name
  return studio.build(functions, samples, f'{name}, step {model.step}')


def run() -> None:
  """The command jaxgan-studio."""
  cli.run(main, sys.argv)


if __name__ == '__main__':
  run()
