"""What the documents say is there: commands, flags, settings, links, names."""

import ast
import os
import pathlib
import re
import shlex
import subprocess
import sys

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

from jaxgan import systems, workdir

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [
  *ROOT.glob('*.md'),
  *ROOT.glob('docs/*.md'),
  *ROOT.glob('benchmarks/*.md'),
]
# Of absl, ml_collections and of pytest's and others' programs.
_COMMON_FLAGS = {'help', 'helpfull', 'verbosity'}


def _commands(text):
  """Lines of a shell in fenced blocks, those that go on joined."""
  fenced = re.compile(r'^```(\w*)\n(.*?)^```$', re.M | re.S)
  for language, block in fenced.findall(text):
    if language not in ('', 'bash'):
      continue
    joined = re.sub(r'\\\n\s*', ' ', block)
    for line in joined.splitlines():
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
  """The flags that a file defines by absl, and those of the processes."""
  names = set(_COMMON_FLAGS)
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
      if node.func.attr.startswith('DEFINE_'):
        names.add(node.args[0].value)
      elif node.func.attr == 'define_process_flags':
        names |= {'coordinator', 'num_processes', 'process_id'}
  return names


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_every_command_has_a_program_that_takes_its_flags(path):
  settings = {
    key
    for system in systems.SYSTEMS.values()
    for key in workdir.flatten(system.default_config())
  }
  for words in _commands(path.read_text()):
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


def _anchors(text):
  """What GitHub calls the headings of a document."""
  return {
    re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
    for heading in re.findall(r'^#+ (.*)$', text, re.M)
  }


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
  text = path.read_text()
  for label, target in re.findall(r'\[([^]]*)\]\(([^)\s]+)\)', text):
    if target.startswith(('http://', 'https://')):
      continue
    name, _, anchor = target.partition('#')
    linked = (path.parent / name).resolve() if name else path
    assert linked.exists(), f'{path.name}: {target}'
    if line := re.fullmatch(r'L(\d+)', anchor):
      lines = linked.read_text().splitlines()
      defined = re.compile(rf'\s*(def|class)? ?{re.escape(label.strip("`"))}\b')
      shown = lines[int(line[1]) - 1]
      assert defined.match(shown), f'{path.name}: {target} is {shown!r}'
    elif anchor:
      assert anchor in _anchors(linked.read_text()), f'{path.name}: {target}'


_TINY = (
  '--config.num_train_steps=2',
  '--config.batch_size=2',
  '--config.data.img_size=32',
  '--config.model.channel_base=128',
  '--config.model.max_conv_dim=8',
  '--config.model.hidden_dim=8',
  '--config.sample_every_steps=2',
  '--config.checkpoint_every_steps=2',
)
# What stands in for programs of the shell: the same commands, small and here.
_STAND_INS = {
  'python': f"""
    case "$*" in
      train.py*) exec {sys.executable} "$@" {' '.join(_TINY)} ;;
      *tools.studio*) echo "serves until it is ended: see studio_test" ;;
      *) exec {sys.executable} "$@" ;;
    esac
  """,
  'pip': 'exit 0',
  'make': """
    [ "$1" = demo ]
    python train.py --config=configs/stargan_v2/shapes.py --workdir=runs/demo
  """,
}


def _write_photos(root):
  rng = np.random.default_rng(0)
  for split, count in (('train', 6), ('val', 3)):
    for domain in ('cats', 'dogs'):
      folder = root / split / domain
      folder.mkdir(parents=True)
      for i in range(count):
        pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{domain}{i}.jpg')


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
  """A folder as the repository's, where `python` trains tiny networks."""
  for name in ('jaxgan', 'configs', 'train.py', 'eval.py', 'requirements.txt'):
    (tmp_path / name).symlink_to(ROOT / name)
  for folder in ('bin', 'docs', '.venv/bin'):
    (tmp_path / folder).mkdir(parents=True)
  (tmp_path / '.venv/bin/activate').touch()
  for name, script in _STAND_INS.items():
    path = tmp_path / 'bin' / name
    path.write_text(f'#!/bin/bash\nset -e\n{script}')
    path.chmod(0o755)
  monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:{os.environ["PATH"]}')
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
  return tmp_path


@pytest.mark.slow
def test_the_tutorial_runs_from_beginning_to_end(elsewhere):
  _write_photos(elsewhere / 'photos')
  text = (ROOT / 'docs/tutorial.md').read_text()
  blocks = re.findall(r'^```bash\n(.*?)^```$', text, re.M | re.S)
  assert len(blocks) == 7
  command = ['bash', '-e', '-c', '\n'.join(blocks)]
  done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  for name in (
    'runs/demo/report/index.html',
    'squares/green_to_square_seed0_3.png',
    'squares/grid.png',
    'runs/photos/eval/scores.csv',
    'dogs_of_cats/video.mp4',
  ):
    assert (elsewhere / name).exists(), done.stdout


@pytest.mark.slow
@pytest.mark.filterwarnings('default')  # of the notebook's own machinery
def test_the_notebook_runs_and_shows_pictures(elsewhere):
  book = nbformat.read(ROOT / 'docs/quickstart.ipynb', as_version=4)
  where = {'metadata': {'path': str(elsewhere / 'docs')}}
  nbclient.NotebookClient(book, timeout=600, resources=where).execute()
  shown = [
    'image/png' in output.get('data', {})
    for cell in book.cells
    for output in cell.get('outputs', ())
  ]
  assert sum(shown) == 3
  assert (elsewhere / 'runs/quickstart/report/index.html').exists()
