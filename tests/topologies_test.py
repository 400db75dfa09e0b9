"""One global batch, whichever devices and processes share it."""

import collections
import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest
from PIL import Image

from jaxgan.data import pictures
from jaxgan.data.contracts import domains_ref
from tests import programs, tiny

scaling = programs.load('benchmarks.scaling')

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
  '--config=configs/stargan_v2/shapes.py',
  '--config.model.channel_base=128',
  '--config.model.max_conv_dim=8',
  '--config.model.hidden_dim=8',
  '--config.model.style_dim=5',
  '--config.model.latent_dim=4',
)


def _benchmark(name, *args):
  """What the last line of a program holds."""
  done = subprocess.run(
    [sys.executable, '-m', f'benchmarks.{name}', *TINY, *args],
    cwd=ROOT,
    env={**os.environ, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
    capture_output=True,
    text=True,
    timeout=580,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def decoded(tmp_path, monkeypatch):
  """(config of a folder of 400 images, list of those that are decoded)."""
  for split, count in (('train', 200), ('val', 10)):
    for domain in 'ab':
      folder = tmp_path / split / domain
      folder.mkdir(parents=True)
      for i in range(count):
        Image.new('RGB', (4, 4), (i, 0, 0)).save(folder / f'{i:03}.bmp')
  seen = []
  picture = pictures.FileImages.picture

  def record(self, domain, index):
    seen.append(self._source.describe(domain, index))
    return picture(self, domain, index)

  monkeypatch.setattr(pictures.FileImages, 'picture', record)
  config = tiny.config(
    batch_size=4,
    data__name='folder',
    data__root=str(tmp_path),
    data__check_images=False,
  )
  config.unlock()
  return config, seen


def _take_seen(seen):
  taken = list(seen)
  seen.clear()
  return taken


def test_a_process_decodes_the_images_of_its_own_slots_alone(decoded):
  config, seen = decoded
  whole = domains_ref.Data(config).training(0, 1).source
  steps = 20  # more than are decoded ahead
  for process, slots in enumerate(((0, 1), (2, 3))):
    for step in range(steps):
      for slot in slots:
        whole.slot(step, slot)
    own = _take_seen(seen)
    assert len(own) == 3 * 2 * steps
    data = domains_ref.Data(config).training(process, 2)
    batches = data.source.batches()
    for _ in range(3):
      next(batches)
    batches.close()
    opened = collections.Counter(_take_seen(seen))
    assert opened.total() >= 3 * 2 * 3
    assert opened <= collections.Counter(own)


def test_each_image_is_checked_by_one_process(decoded):
  config, seen = decoded
  config.data.check_images = True
  for process in range(4):
    domains_ref.Data(config).training(process, 4)
  assert len(seen) == len(set(seen)) == 2 * (200 + 10)


def test_traffic_is_read_from_the_program():
  program = """
    %all-reduce.1 = f32[8,3]{1,0} all-reduce(%a), channel_id=1
    %all-reduce.2 = (f32[2]{0}, bf16[4,1]{1,0}) all-reduce(%b, %c)
    %get = f32[2]{0} get-tuple-element(%all-reduce.2), index=0
    %all-gather = f32[16]{0} all-gather(%get), dimensions={0}
    %x = s32[] all-reduce(%y)
  """
  columns = scaling.describe_traffic(program * 1000)
  assert columns['all-reduces'] == 3000 and columns['all-gathers'] == 1000
  assert columns['all-reduce MB'] == pytest.approx(0.116)
  assert columns['all-gather MB'] == pytest.approx(0.064)
  assert columns['reduce-scatters'] == columns['all-to-all MB'] == 0


@pytest.mark.slow
def test_what_is_sent_are_gradients():
  one, whole, divided = _benchmark(
    'scaling', '--topologies=1x1,1x2', '--measure=traffic,checkpoint'
  )
  assert one['all-reduces'] == one['all-gathers'] == 0
  counts = {
    name: sum(x.size for x in jax.tree.leaves(tree))
    for name, tree in tiny.create()[1].params.items()
  }
  # Two steps of the discriminator, one of all others, one of the generator.
  floats = (
    2 * counts['discriminator']
    + 2 * counts['generator']
    + counts['mapping_network']
    + counts['style_encoder']
  )
  # A network that a phase runs twice is summed twice; no image is sent.
  assert 4e-6 * floats <= whole['all-reduce MB'] <= 3 * 4e-6 * floats
  assert whole['all-gathers'] == whole['all-to-alls'] == 0
  assert divided['state MB a device'] < 0.6 * whole['state MB a device']
  assert divided['all-gather MB'] > 0
  for record in (one, whole, divided):
    assert record['checkpoint MB'] > whole['state MB a device']
    assert record['write s'] > 0 and record['read s'] > 0
