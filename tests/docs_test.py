"""What the documents say is there: commands, flags, settings, links, names."""

import ast
import pathlib
import re
import shlex

import pytest

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
      line = re.sub(r'\[(--[^]]*)\]', r'\1', line)  # [--optional]
      words = shlex.split(line, comments=True)
      if words[:1] == ['python'] and len(words) > 1:
        yield words[1:]


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
