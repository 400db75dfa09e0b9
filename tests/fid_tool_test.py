import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg
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
      cli.run(tool.main, ['fid', *args], ('REAL', 'FAKE'))
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
  (('real',), 'FAKE is missing', 2),
  (('real', 'fake', 'more'), 'unknown argument', 2),
  (('real', 'fake', '--protocol=x'), 'protocol=x', 2),
  (('real', 'fake', '--img_size=0'), 'img_size', 2),
  (('real', 'none.npz'), 'there is no file', 1),
  (
    ('real', 'no.npz'),
    'no.npz holds no statistics of FID, mu and sigma (it',
    1,
  ),
  (('real', 'odd.npz'), 'sigma (mu is (4,) and sigma (3, 3))', 1),
  (('real', 'nan.npz'), 'sigma (it has numbers that are NaN or infinite)', 1),
  (('real', 'wide.npz'), 'is of features=4 and', 1),
  (('clean.npz', 'fake'), 'clean.npz is of protocol=clean and', 1),
  (('real', 'fake', '--save_stats=x.txt'), 'does not end in .npz', 2),
  (('real', 'fake', '--save_stats=ROOT/no.npz'), 'exists: take another', 1),
]
GOOD = [
  ('real', 'fake', '--img_size=64', '--save_stats=ROOT/kept.npz'),
  ('kept.npz', 'fake', '--img_size=64'),
  ('theirs.npz', 'fake', '--img_size=64'),
  ('theirs.npz', 'other.npz'),
]
MEAN, COVARIANCE = (4.0, 11, 0, 0), (0.5, 2, 1, 3)
OTHER = np.eye(4) + np.full((4, 4), 0.5)


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
  files = {
    'no': {'x': np.ones(3)},
    'odd': {'mu': np.ones(4), 'sigma': np.eye(3)},
    'nan': {'mu': np.full(4, np.nan), 'sigma': np.eye(4)},
    'wide': {'mu': np.ones(9), 'sigma': np.eye(9)},
    'clean': {'mu': np.ones(4), 'sigma': np.eye(4), 'protocol': 'clean'},
    # As pytorch-fid writes them.
    'theirs': {'mu': np.array(MEAN), 'sigma': np.diag(COVARIANCE)},
    'other': {'mu': np.ones(4), 'sigma': OTHER},
  }
  for name, arrays in files.items():
    np.savez_compressed(root / f'{name}.npz', **arrays)
  cases = [*GOOD, *(args for args, *_ in BAD)]
  cases = [
    [
      a.replace('ROOT', str(root)) if a.startswith('--') else str(root / a)
      for a in args
    ]
    for args in cases
  ]
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM, json.dumps(cases)],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return root, json.loads(done.stdout), done.stderr


def test_one_line_of_json(results):
  _, results, _ = results
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


def test_statistics_are_kept_and_used(results):
  root, results, _ = results
  with np.load(root / 'kept.npz') as kept:  # as pytorch-fid reads them
    mean, covariance = kept['mu'][:], kept['sigma'][:]
    told = {key: kept[key].item() for key in kept if kept[key].ndim == 0}
  features = np.array([[4.0, red, 0, 0] for red in (10, 11, 12)])
  np.testing.assert_array_equal(mean, features.mean(0))
  np.testing.assert_array_equal(covariance, np.cov(features, rowvar=False))
  assert told == {
    'count': 3,
    'protocol': 'stargan_v2',
    'weights': 'made',
    'img_size': 64,
  }
  status, out, err = results[1]
  assert (status, out, err) == (0, results[0][1], '')


def test_statistics_of_others_are_used_and_what_they_leave_open_is_told(
  results,
):
  root, results, warned = results
  status, out, _ = results[2]
  # The means are equal; the fakes vary in one feature alone, by 2.
  assert status == 0 and json.loads(out) == {
    'fid': pytest.approx(6.5 + 2 - 2 * 2),
    'protocol': 'stargan_v2',
    'weights': 'made',
    'n_real': None,
    'n_fake': 2,
    'img_size': 64,
  }
  line = (
    'does not tell which weights looked at its pictures, and how they were '
    'resized: the FID is right only if both are as on the other side'
  )
  told = re.findall(rf'{root}/(\w+).npz {line}', warned)
  assert set(told) == {'theirs', 'other'}
  status, out, _ = results[3]
  found, a = json.loads(out), np.diag(COVARIANCE)
  trace = np.trace(a + OTHER - 2 * scipy.linalg.sqrtm(a @ OTHER).real)
  expected = pytest.approx(np.sum((np.array(MEAN) - 1) ** 2) + trace)
  assert status == 0 and found.pop('fid') == expected
  assert set(found.values()) == {None}


def test_bad_input_is_one_line(results):
  _, results, _ = results
  for (_, message, expected), (status, out, err) in zip(
    BAD, results[len(GOOD) :], strict=True
  ):
    assert (status, out) == (expected, '')
    assert message in err and len(err.splitlines()) == 1
