"""Where data lies does not matter; what it holds does."""

import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan import loop
from jaxgan.runs import workdir
from jaxgan.runtime import errors
from jaxgan.systems import contract
from tests import tiny, tiny_pix2pix, tiny_stargan, tiny_unit

_LAYOUTS = {
  'folder': ('train/{}', 'val/{}'),
  'unpaired': ('train{}', 'val{}'),
  'paired': ('train', 'val'),
}


def _make(root, layout, domains=('A', 'B')):
  """Three images in each folder of a layout, no two alike."""
  rng = np.random.default_rng(0)
  for folder in _LAYOUTS[layout]:
    for domain in domains:
      directory = root / folder.format(domain)
      directory.mkdir(parents=True, exist_ok=True)
      for i in range(3):
        pixels = rng.integers(0, 255, (40, 80, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f'{i}.png')
  return root


def _config(system, name, root):
  tiny_of = {
    'stargan_v2': tiny,
    'stargan': tiny_stargan,
    'unit': tiny_unit,
    'pix2pix': tiny_pix2pix,
  }[system]
  config = tiny_of.config(data__name=name, data__root=str(root)).unlock()
  config.data.domains = ()
  if 'pair' in config.data:
    config.data.pair = ('A', 'B')
  return config


def _contents(system, name, root):
  config = _config(system, name, root)
  data = contract.load(system).create_data(config)
  return data.training(0, 1).contents


_CASES = [
  ('stargan_v2', 'folder', 'train/B'),
  ('stargan', 'folder', 'train/B'),
  ('unit', 'folder', 'train/B'),
  ('unit', 'unpaired', 'trainB'),
  ('pix2pix', 'folder', 'train/B'),
  ('pix2pix', 'paired', 'train'),
]


@pytest.mark.parametrize('system, name, folder', _CASES)
def test_contents_are_those_of_the_files(tmp_path, system, name, folder):
  old = _make(tmp_path / 'old', name)
  known = _contents(system, name, old)
  assert {key: value['images'] for key, value in known.items()} == {
    'A': 3,
    'B': 3,
  }
  new = tmp_path / 'far' / 'new'
  shutil.copytree(old, new)
  assert _contents(system, name, f'{new}/') == known
  # Other bytes of an image of an unchanged name, then another name of it.
  others = [new / folder] + [new / 'train/A'] * (name == 'folder')
  shutil.copy(new / folder / '1.png', new / folder / '0.png')
  changed = _contents(system, name, new)
  assert changed['B'] != known['B'] and changed['B']['images'] == 3
  assert changed['A'] == known['A'] or name == 'paired'
  for other in others[: 1 + (system == 'pix2pix')]:  # both of a pair
    (other / '1.png').rename(other / '3.png')
  assert _contents(system, name, new)['B'] not in (known['B'], changed['B'])


def test_drawn_images_have_no_contents():
  assert _contents('stargan_v2', 'shapes', '') == {}


def test_labels_are_of_the_contents(tmp_path):
  (tmp_path / 'images').mkdir()
  names = [f'{i}.png' for i in range(4)]
  for name in names:
    Image.new('RGB', (20, 20)).save(tmp_path / 'images' / name)

  def contents(values):
    lines = [f'{n} {v} 1' for n, v in zip(names, values, strict=True)]
    text = '\n'.join(['4', 'Male Young', *lines])
    (tmp_path / 'list_attr_celeba.txt').write_text(text)
    config = tiny_stargan.config(
      data__name='celeba',
      data__root=str(tmp_path),
      data__domains=(),
      data__num_test=1,
    )
    return contract.load('stargan').create_data(config).training(0, 1).contents

  assert contents((1, 1, 1, 1)) == contents((1, 1, 1, 1))
  assert contents((1, 1, 1, 1)) != contents((-1, -1, -1, -1))


def test_other_data_ends_a_resume_before_any_work(tmp_path):
  root, run = _make(tmp_path / 'data', 'folder'), epath.Path(tmp_path / 'run')
  config = _config('stargan_v2', 'folder', root)
  config.data.domains, config.model.num_domains = ('A', 'B'), 2
  (run / 'checkpoints' / '2').mkdir(parents=True)
  workdir.save_config(run, config)
  workdir.save_data(run, _contents('stargan_v2', 'folder', root))
  moved = tmp_path / 'moved'
  root.rename(moved)
  (moved / 'train' / 'A' / '2.png').unlink()
  config.data.root = str(moved)
  with pytest.raises(errors.ConfigMismatchError) as error:
    loop.train(config, str(run))
  assert f"{run} was trained on other data: 'A' has 2 images, and had 3" in str(
    error.value
  )
