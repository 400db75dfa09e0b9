import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parent.parent
# All cases in one process: importing takes longer than running. Features of a
# picture are its size and the colour of its first pixel.
PROGRAM = """
import contextlib, io, json, sys
import numpy as np
from absl import flags
from jaxgan.runtime import cli
from jaxgan.metrics import features
from jaxgan.tools import fid as tool

class Inception:
  label, uses_img_size = 'made', True
  def __init__(self, protocol, weights_dir):
    self.name = protocol
  def compute(self, pictures, img_size):
    return np.array([[p.size[0], *p.getpixel((0, 0))] for p in pictures])

features.Inception = Inception
results = []
for args in json.loads(sys.argv[1]):
  out, err = io.StringIO(), io.StringIO()
  flags.FLAGS.unparse_flags()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
      cli.run(tool.main, ['fid', *args], ('REAL_DIR', 'FAKE_DIR'))
    except SystemExit as e:
      status = e.code or 0
  results.append((status, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""
BAD = [
  (('real', 'none'), 'there is no file or folder', 1),
  (('real', 'empty'), 'holds no images', 1),
  (('real', 'broken'), 'x.png cannot be read (empty file)', 1),
  (('real', 'one'), 'holds one image, and FID needs two', 1),
  (('real',), 'FAKE_DIR is missing', 2),
  (('real', 'fake', 'more'), 'unknown argument', 2),
  (('real', 'fake', '--protocol=x'), 'protocol=x', 2),
  (('real', 'fake', '--img_size=0'), 'img_size', 2),
]


@pytest.fixture(scope='module')
def results(tmp_path_factory):
  """(status, stdout, stderr) of a good run and of the bad ones."""
  root = tmp_path_factory.mktemp('folders')
  for name, reds in {'real': (10, 11, 12), 'fake/deep': (10, 12)}.items():
    (root / name).mkdir(parents=True)
    for red in reds:
      Image.new('RGB', (4, 4), (red, 0, 0)).save(root / name / f'{red}.png')
  for name in ('empty', 'broken', 'one'):
    (root / name).mkdir()
  for path in ('broken/x.png', 'broken/y.png'):
    (root / path).write_bytes(b'')
  Image.new('RGB', (4, 4)).save(root / 'one' / 'x.png')
  cases = [('real', 'fake', '--img_size=64'), *(args for args, *_ in BAD)]
  cases = [
    [a if a.startswith('--') else str(root / a) for a in args] for args in cases
  ]
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM, json.dumps(cases)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(done.stdout)


def test_one_line_of_json(results):
  status, out, err = results[0]
  assert status == 0 and not err
  assert json.loads(out) == {
    'fid': pytest.approx((np.sqrt(2) - 1) ** 2),  # of variances 1 and 2
    'protocol': 'stargan_v2',
    'weights': 'made',
    'n_real': 3,
    'n_fake': 2,
    'img_size': 64,
  }


def test_bad_input_is_one_line(results):
  for (_, message, expected), (status, out, err) in zip(
    BAD, results[1:], strict=True
  ):
    assert (status, out) == (expected, '')
    assert message in err and len(err.splitlines()) == 1
