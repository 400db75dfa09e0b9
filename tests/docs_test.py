"""What the documents say is there: commands, flags, settings, links, names."""

import ast
import base64
import functools
import importlib.util
import os
import pathlib
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
import types

import jax
import nbclient
import nbformat
import numpy as np
import pytest
from absl import flags
from etils import epath
from PIL import Image

from jaxgan.data import labelled, shapes
from jaxgan.data.contracts import unpaired
from jaxgan.inference import grids
from jaxgan.metrics import shapes as measure_shapes
from jaxgan.pytorch import torch_files
from jaxgan.runtime import errors, images, sharding
from jaxgan.systems import config_flag, contract, settings
from tests import parity

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [
  *ROOT.glob('*.md'),
  *ROOT.glob('docs/*.md'),
  *ROOT.glob('benchmarks/*.md'),
]
STAND_INS = ROOT / 'tests/stand_ins'
_LINKED = (
  *('jaxgan', 'configs', 'tests', 'benchmarks', 'train.py', 'eval.py'),
  *('Makefile', 'pyproject.toml', 'requirements.txt'),
)
# Programs whose flags are in a module.
_THIN = {
  'train.py': ROOT / 'jaxgan/tools/train.py',
  'eval.py': ROOT / 'jaxgan/tools/evaluate.py',
}
# What the commands of a document have to leave, of much else.
_LEFT = {
  'README.md': ('dogs/video.mp4', 'bucket/runs/afhq/report/index.html'),
  'tutorial.md': (
    'runs/demo/eval/scores.csv',
    'squares/lime_to_square_seed0_3.png',
    'runs/photos/eval/scores.csv',
    'dogs_of_cats/video.mp4',
  ),
  'translating.md': (
    'wild_as_large/2_to_wild_seed0_3.png',
    'wild_clips/clip_to_wild_seed0_1.mp4',
    'like_1.png',
    'some_dog_as_large.png',
    'exported/model.json',
  ),
  'stargan.md': (
    'runs/stargan_joint/config.json',
    'all/grid.png',
    'dogs/1_to_dog.png',
    'older/1_to_Young.png',
    'stargan_exported/200000-D.ckpt',
  ),
  'munit.md': (
    'runs/munit_shapes/eval/scores.csv',
    'drawn/1_to_dog_seed0_2.png',
    'like_dogs/grid.png',
    'circles/1_to_circle.png',
    'own_2.png',
    'munit_exported/optimizer.pt',
  ),
  'evaluation.md': ('runs/afhq/best/best.json',),
  'from_pytorch.md': ('out_male/video.mp4', 'aligned/1.png'),
  'pods.md': (
    'runs/seed0/config.json',
    'runs/seed1/config.json',
    'runs/two_hosts/config.json',
    'shared/runs/afhq/config.json',
    'bucket/runs/afhq/eval/scores.csv',
  ),
}
# Rows and columns of the grids, their number following from the command.
_GRIDS = {
  'README.md': {'dogs/grid.png': (5, 2)},
  'tutorial.md': {'squares/grid.png': (5, 2), 'dogs_of_cats/grid.png': (3, 2)},
  'translating.md': {
    'like_the_references/grid.png': (3, 3),
    'wild/grid.png': (5, 2),
  },
  'from_pytorch.md': {
    'out/grid.png': (5, 3),
    'out_female/grid.png': (3, 3),
    'out_male/grid.png': (9, 2),
  },
  'stargan.md': {'all/grid.png': (4, 2), 'dogs/grid.png': (2, 2)},
  'munit.md': {
    'drawn/grid.png': (4, 2),
    'like_dogs/grid.png': (3, 3),
    'circles/grid.png': (2, 2),
  },
}
_CELL = 128  # side of a picture in a grid.png of small ones
# Of absl, ml_collections and of pytest's and others' programs.
_COMMON_FLAGS = {'help', 'helpfull', 'verbosity'}


def _blocks(path, *languages):
  """What is fenced in a document as one of these languages."""
  fenced = re.compile(r'^```(\w*)\n(.*?)^```$', re.M | re.S)
  found = fenced.findall(path.read_text())
  return [block for language, block in found if language in languages]


def _inline_commands(path):
  """Those that train in the midst of a text, as in the README's table."""
  return re.findall(r'`(python train\.py [^`]+)`', path.read_text())


def _commands(path):
  """Lines of a shell that run Python, those that go on joined."""
  blocks = _blocks(path, '', 'bash', 'text')
  for block in [*blocks, *_inline_commands(path)]:
    joined = re.sub(r'\\\n\s*', ' ', block)
    for line in joined.splitlines():
      line = re.sub(r'^(\w+=\S+ +)+', '', line.strip())  # of the environment
      if re.match(r'python (?!-c)', line):
        line = re.sub(r'\[(--[^]]*)\]', r'\1', line)  # [--optional]
        yield shlex.split(line, comments=True)[1:]


def _program(words):
  """(file of a program of ours or None, its arguments)."""
  if words[0] == '-m':
    path = ROOT / f'{words[1].replace(".", "/")}.py'
    return (path if path.exists() else None), words[2:]
  return ROOT / words[0], words[1:]


def _flags(path):
  """The flags that a file defines, --config and those of the processes."""
  path = _THIN.get(path.name, path)
  names = set(_COMMON_FLAGS)
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      match node.func.attr:
        case 'define':
          names.add('config')
        case 'define_process_flags':
          names |= {'coordinator', 'num_processes', 'process_id'}
        case name if name.lower().startswith('define_'):
          names.add(node.args[0].value)
  return names


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_every_command_has_a_program_that_takes_its_flags(path):
  settings = {
    key for name in contract.SYSTEMS for key in contract.load(name).SETTINGS
  }
  for words in _commands(path):
    if words[0] == '-m' and words[1].split('.')[0] in ('pip', 'venv', 'build'):
      continue
    program, arguments = _program(words)
    assert program and program.exists(), words
    known = _flags(program)
    for argument in arguments:
      if not argument.startswith('--') or argument == '--':
        continue
      name = argument[2:].partition('=')[0]
      if name.startswith('config.'):
        key = name.removeprefix('config.')
        assert key in settings or key == 'x', f'{argument}: no such setting'
        name = 'config'
      names = {name, name.removeprefix('no')}
      assert names & known, f'{path.name}: {words}: {argument}'


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_has_a_value_that_can_be(path, monkeypatch):
  monkeypatch.chdir(ROOT)
  for words in _commands(path):
    changes = [word for word in words if word.startswith('--config')]
    if not any(word.startswith('--config=configs/') for word in changes):
      continue
    values = flags.FlagValues()
    config_flag.define('', flag_values=values)
    monkeypatch.setattr(sys, 'argv', [path.name, *changes])
    values(sys.argv)
    config = values['config'].value
    config.data.domains = config.data.domains or ('a', 'b')
    contract.check_config(contract.get_system(config), config)


def test_console_commands_are_those_of_the_package():
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  named = {
    name
    for path in DOCUMENTS
    for name in re.findall(r'\bjaxgan-[a-z]+', path.read_text())
  }
  assert named == set(project['scripts'])
  for target in project['scripts'].values():
    module, _, function = target.partition(':')
    path = ROOT / f'{module.replace(".", "/")}.py'
    assert function in _symbols(path), target


def test_extras_in_the_documents_are_those_of_the_package():
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  named = {
    name
    for path in DOCUMENTS
    for names in re.findall(
      r'install (?:-e\s+)?"?\.\[([\w,]+)\]', path.read_text()
    )
    for name in names.split(',')
  }
  assert named == set(project['optional-dependencies'])


def _anchors(text):
  """What GitHub calls the headings of a document."""
  return {
    re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
    for heading in re.findall(r'^#+ (.*)$', text, re.M)
  }


def _definitions(body, prefix=''):
  """The names that statements define, with those inside: Class.method."""
  for node in body:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
      yield prefix + node.name
      yield from _definitions(node.body, f'{prefix}{node.name}.')
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
      for target in getattr(node, 'targets', None) or [node.target]:
        if isinstance(target, ast.Name):
          yield prefix + target.id


@functools.cache
def _symbols(path):
  return set(_definitions(ast.parse(path.read_text()).body))


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
  text = path.read_text()
  for label, target in re.findall(r'\[([^]]*)\]\(([^)\s]+)\)', text):
    if target.startswith(('http://', 'https://')):
      continue
    name, _, anchor = target.partition('#')
    linked = (path.parent / name).resolve() if name else path
    assert linked.exists(), f'{path.name}: {target}'
    if anchor and linked.suffix == '.py':
      # A line moves with every edit; a name can be searched for.
      told = f'{path.name}: [{label}]({target})'
      assert anchor in _symbols(linked), f'{told}: name a symbol, not a line'
      # `method` and `Class.method` both are labels of #Class.method.
      name = label.strip('`')
      assert f'.{anchor}'.endswith(f'.{name}'), f'{told}: of another name'
    elif anchor:
      assert anchor in _anchors(linked.read_text()), f'{path.name}: {target}'


def _refused(system, changes):
  loaded = contract.load(system)
  config = settings.create(loaded.SETTINGS)
  config.update_from_flattened_dict(changes)
  contract.check_config(loaded, config)


def _three_domains():
  splits = types.SimpleNamespace(domains=('cat', 'dog', 'wild'))
  config = settings.create(contract.load('munit').SETTINGS)
  unpaired.Data(config).check(splits, splits)


@pytest.mark.parametrize(
  'refuse',
  [
    *(
      functools.partial(_refused, system, changes)
      for system, changes in (
        ('stargan_v2', {'data.img_size': 100}),
        ('stargan_v2', {'data.img_size': 1024, 'model.channel_base': 512}),
        ('stargan', {'data.img_size': 90}),
        ('pix2pix', {'data.img_size': 300}),
        ('pix2pix', {'model.num_domains': 3}),
        ('munit', {'data.img_size': 250}),
        ('munit', {'model.num_domains': 3}),
        ('munit', {'model.dtype': 'float16'}),
        ('unit', {'data.img_size': 250}),
      )
    ),
    functools.partial(labelled.check_names, ['cat']),
    functools.partial(sharding.create_mesh, 9),
    _three_domains,
  ],
)
def test_limits_are_those_of_the_code(refuse):
  with pytest.raises(errors.UserError) as caught:
    refuse()
  assert f'`{caught.value}`' in (ROOT / 'docs/limits.md').read_text()


def _draw_pictures(folder, count, name=''):
  """Pictures 1.png to COUNT.png of noise, or NAME1.png and so on."""
  folder.mkdir(parents=True, exist_ok=True)
  rng = np.random.default_rng(list(str(folder).encode()))
  for i in range(1, count + 1):
    pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{name}{i}.png')


def _draw_data(root, domains):
  for split, count in (('train', 6), ('val', 3)):
    for domain in domains:
      _draw_pictures(root / split / domain, count, f'{split}_{domain}_')


def _draw_clip(path):
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (3, 40, 50, 3), np.uint8)
  images.write_video(epath.Path(path), frames, 25)


def _draw_pairs(root):
  """photos/<split>/{edges,photos} of equal names, facades/<split>."""
  for split, count in (('train', 4), ('val', grids.NUM_SOURCES)):
    for side in ('edges', 'photos'):
      _draw_pictures(root / 'photos' / split / side, count)
    _draw_pictures(root / 'facades' / split, count)


def _draw_emoji(root):
  """Styles whose pictures have equal names, as `make_emoji` leaves them."""
  for split, count in (('train', 4), ('val', grids.NUM_SOURCES)):
    for style in ('noto', 'twemoji', 'fluent', 'openmoji'):
      _draw_pictures(root / split / style, count)


def _draw_celeba(root):
  """Pictures and attributes as CelebA has them."""
  names = 'Black_Hair Blond_Hair Brown_Hair Male Young'.split()
  _draw_pictures(root / 'images', 9)
  lines = ['9', ' '.join(names)]
  for i in range(1, 10):
    values = ['1' if (i + j) % 2 else '-1' for j in range(len(names))]
    lines.append(f'{i}.png {" ".join(values)}')
  (root / 'list_attr_celeba.txt').write_text('\n'.join(lines) + '\n')


def _link_programs(folder):
  """Makes a folder that of the repository, but for what commands write."""
  for name in _LINKED:
    (folder / name).symlink_to(ROOT / name)
  (folder / 'docs').mkdir()
  (folder / 'docs/launch').symlink_to(ROOT / 'docs/launch')
  (folder / '.venv/bin').mkdir(parents=True)
  (folder / '.venv/bin/activate').touch()
  (folder / '.venv/bin/python').symlink_to(STAND_INS / 'python')
  (folder / '.venv/installed').touch()


@pytest.fixture(scope='session')
def environment(tmp_path_factory):
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    address = f'127.0.0.1:{s.getsockname()[1]}'
  home = tmp_path_factory.mktemp('home')
  return {
    'PATH': f'{STAND_INS}:{os.environ["PATH"]}',
    'HOME': str(home),
    'REAL_PYTHON': sys.executable,
    'FREE_ADDRESS': address,
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    # Most of these trainings are the same program.
    'JAX_COMPILATION_CACHE_DIR': jax.config.jax_compilation_cache_dir,
    'JAX_COMPILATION_CACHE_MAX_SIZE': str(
      jax.config.jax_compilation_cache_max_size
    ),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
  }


def _run(text, folder, environment):
  """Runs lines of a shell, which have to end well; returns what they said."""
  done = subprocess.run(
    ['bash', '-e', '-c', text],
    cwd=folder,
    env=environment,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout[-9000:] + done.stderr[-9000:]
  return done.stdout + done.stderr


@pytest.fixture(scope='session')
def furnished(tmp_path_factory, environment):
  """A folder with the data, runs and files that the documents name."""
  folder = tmp_path_factory.mktemp('furnished')
  _link_programs(folder)
  _draw_data(folder / 'data/afhq', ('cat', 'dog', 'wild'))
  _draw_data(folder / 'data/celeba_hq', ('female', 'male'))
  (folder / 'my_data').symlink_to('data/afhq')
  _draw_celeba(folder / 'data/celeba')
  _draw_emoji(folder / 'data/emoji')
  (folder / 'shared').mkdir()
  (folder / 'shared/data').symlink_to('../data')
  for name in ('photos', 'fakes', 'refs/dog', 'refs/female', 'refs/male'):
    _draw_pictures(folder / name, 2)
  (folder / 'weights').mkdir()

  train = 'python train.py --config=configs/stargan_v2/afhq.py'
  options = '--workdir=runs/afhq --config.data.root=data/afhq'
  _run(f'{train} {options}', folder, environment)
  if not importlib.util.find_spec('torch'):
    return folder
  _run(
    """
    python -m jaxgan.tools.export_checkpoint --workdir=runs/afhq --out=files
    mkdir -p expr/checkpoints
    for file in nets nets_ema optims; do
      cp files/000002_$file.ckpt expr/checkpoints/050000_$file.ckpt
    done
    cp files/000002_nets_ema.ckpt 100000_nets_ema.ckpt
    """,
    folder,
    environment,
  )
  face_network = parity.rule_made_face_network()
  torch_files.save(folder / 'wing.ckpt', {'fan': face_network})
  points = np.random.default_rng(0).uniform(60, 200, (98, 2))
  np.savez(folder / 'celeba_lm_mean.npz', mean=points)
  return folder


def _make_official_stargan(folder, environment):
  """200000-G.ckpt and 200000-D.ckpt, of a run that goes again."""
  _run(
    """
    python train.py --config=configs/stargan/celeba.py --workdir=runs/made \\
      --config.data.root=data/celeba
    python -m jaxgan.tools.export_checkpoint --workdir=runs/made --out=made
    for letter in G D; do mv made/2-$letter.ckpt 200000-$letter.ckpt; done
    """,
    folder,
    environment,
  )


def _make_official_munit(folder, environment):
  """gen_01000000.pt and what lies beside it, of a run that goes again."""
  _run(
    """
    python train.py --config=configs/munit/edges2shoes.py --workdir=runs/made \\
      --config.data.name=shapes --config.data.val_split=val \\
      --config.data.domains="('circle','square')"
    python -m jaxgan.tools.export_checkpoint --workdir=runs/made --out=made
    for net in gen dis; do mv made/${net}_00000002.pt ${net}_01000000.pt; done
    mv made/optimizer.pt .
    """,
    folder,
    environment,
  )


def _pictures(folder):
  """The PNGs in a folder, but not behind links."""
  return set(folder.rglob('*.png'))


def _cells(path, side):
  """(rows, columns) of the pictures in a grid, which are lines apart."""
  with Image.open(path) as image:
    inked = (np.asarray(image.convert('RGB')) < 255).any(axis=-1)
  rows = _runs(inked.any(axis=1), side)
  last = inked[rows[-1] : rows[-1] + side]  # its corner is never empty
  return len(rows), len(_runs(last.any(axis=0), side))


def _runs(inked, length):
  """Where just so many lines with ink follow each other."""
  edges = np.flatnonzero(np.diff(np.pad(inked, 1)))
  return [a for a, b in edges.reshape(-1, 2).tolist() if b - a == length]


def _look_at(paths):
  """Asserts that pictures show something, and sample grids all sources."""
  for path in sorted(paths):
    with Image.open(path) as image:
      pixels = np.asarray(image.convert('RGB'))
    assert min(pixels.shape[:2]) >= 32, f'{path}: {pixels.shape}'
    assert pixels.std() > 1, f'{path} is of one colour'
    if 'samples' in path.parts:
      _, columns = _cells(path, images.MIN_CELL)  # enlarged, of 32 px
      assert columns - grids.NUM_SOURCES in (0, 1), f'{path}: {columns} columns'


def _look_at_drawn_circles(folder):
  """Asserts that they are as `shapes` draws them: place, size and colour.

  What a run has never seen it cannot translate: a circle of half the brightness
  becomes rubble.
  """
  pixels = np.stack([np.asarray(Image.open(p)) for p in _pictures(folder)])
  found = measure_shapes.measure(pixels)
  assert [shapes.DOMAINS[i] for i in found.domain] == ['circle', 'circle']
  for values, (least, most) in (
    (found.centre, shapes.CENTRE_RANGE),
    (found.radius, shapes.RADIUS_RANGE),
    (pixels.max(axis=(1, 2, 3)) / 255, (shapes.VALUE, 1)),
    (pixels[:, 0, 0] / 255, (shapes.GROUND, shapes.GROUND + 0.01)),
  ):
    assert (values >= least).all() and (values <= most).all(), values


@pytest.mark.slow
@pytest.mark.parametrize(
  'path',
  [path for path in DOCUMENTS if _blocks(path, 'bash')],
  ids=lambda path: path.name,
)
def test_every_command_runs(path, furnished, environment, tmp_path):
  if '.ckpt' in path.read_text():
    pytest.importorskip('torch')
    pytest.importorskip('cv2')
  folder = tmp_path / 'jaxgan'
  shutil.copytree(furnished, folder, symlinks=True)
  if path.name == 'pods.md':
    shutil.rmtree(folder / 'runs')  # its own are in bfloat16
  if path.name == 'stargan.md':
    _make_official_stargan(folder, environment)
  if path.name == 'munit.md':
    _make_official_munit(folder, environment)
  if path.name == 'pix2pix.md':
    _draw_pairs(folder / 'data')
  if path.name == 'translating.md':
    _draw_clip(folder / 'clip.mp4')
  if path.name == 'tutorial.md':
    _draw_data(folder / 'photos', ('cats', 'dogs'))
    for domain in ('cats', 'dogs'):
      _draw_pictures(folder / 'photos' / 'val' / domain, 2)
  before = _pictures(folder)
  commands = [*_blocks(path, 'bash'), *_inline_commands(path)]
  said = _run('\n'.join(commands), folder, environment)
  for block in _blocks(path, 'python'):
    (folder / 'block.py').write_text(block)
    _run('python block.py', folder, environment | {'PYTHONPATH': '.'})
  for name in _LEFT.get(path.name, ()):
    assert (folder / name).exists(), said
  _look_at(_pictures(folder) - before)
  for name, cells in _GRIDS.get(path.name, {}).items():
    assert _cells(folder / name, _CELL) == cells, name
  if path.name == 'tutorial.md':
    _look_at_drawn_circles(folder / 'drawn')


def _notebook():
  return nbformat.read(ROOT / 'docs/quickstart.ipynb', as_version=4)


def test_the_notebook_asks_for_the_repository_where_it_is_not(
  tmp_path, monkeypatch
):
  cell = next(c for c in _notebook().cells if c.cell_type == 'code')
  python, magic, _ = cell.source.partition('%cd')
  assert magic
  monkeypatch.chdir(tmp_path)
  with pytest.raises(SystemExit, match='^give REPOSITORY, in this cell, an ad'):
    exec(python, {})
  monkeypatch.chdir(ROOT / 'docs')
  names = {}
  exec(python, names)
  assert names['folder'] == '..'


@pytest.mark.parametrize(
  'installed, wanted, replaced',
  [
    ({}, ['jax<0.13,>=0.10', 'tensorflow-cpu>=2.19', 'numpy>=2.0'], []),
    (
      {'jax': '0.11.1', 'jax-cuda12-plugin': '0.11.1', 'tensorflow': '2.19.0'},
      ['jax==0.11.1', 'tensorflow>=2.19', 'numpy>=2.0'],
      [],
    ),
    (
      {'jax': '0.7.2', 'jax-cuda12-plugin': '0.7.2', 'numpy': '1.26.4'},
      ['jax[cuda12]<0.13,>=0.10', 'tensorflow-cpu>=2.19', 'numpy>=2.0'],
      ['jax', 'numpy'],
    ),
    ({'jax': '0.7.2', 'libtpu': '0.1'}, ['jax[tpu]<0.13,>=0.10'], ['jax']),
  ],
)
def test_a_notebook_keeps_what_fits(installed, wanted, replaced):
  lines = [
    '# Direct dependencies.',
    'jax>=0.10,<0.13',
    'tensorflow-cpu>=2.19; python_version > "3"',
    'numpy>=2.0  # a comment',
    'ours>=1; python_version < "3"',
  ]
  choose = runpy.run_path(str(ROOT / 'docs/launch/notebook.py'))['choose']
  found, told = choose(lines, installed)
  assert found[: len(wanted)] == wanted and told == replaced
  assert len(found) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings('default')  # of the notebook's own machinery
def test_the_notebook_runs_and_shows_pictures(
  tmp_path, environment, monkeypatch
):
  for name, value in environment.items():
    monkeypatch.setenv(name, value)
  _link_programs(tmp_path)
  book = _notebook()
  where = {'metadata': {'path': str(tmp_path / 'docs')}}
  nbclient.NotebookClient(book, timeout=600, resources=where).execute()
  shown = [
    output['data']['image/png']
    for cell in book.cells
    for output in cell.get('outputs', ())
    if 'image/png' in output.get('data', {})
  ]
  assert len(shown) == 3
  for i, encoded in enumerate(shown):
    (tmp_path / f'shown_{i}.png').write_bytes(base64.b64decode(encoded))
  _look_at(_pictures(tmp_path))
  assert (tmp_path / 'runs/quickstart/report/index.html').exists()
