"""Which folders and files of the package may import which."""

import ast
import graphlib
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent

# A file imports from its own folder and from those before it. `systems` are the
# settings and the contract, `systems/<name>` never imports a sibling.
ORDER = (
  *('runtime', 'data', 'pytorch', 'nets', 'losses', 'training', 'runs'),
  *(
    'metrics',
    'inference',
    'systems',
    'configs',
    'loop',
    'evaluation',
    'apps',
    'tools',
  ),
)

SYSTEMS = {
  path.parent.name for path in ROOT.glob('jaxgan/systems/*/__init__.py')
}
# The key-value store of the coordinator has no public name.
PRIVATE = {'jaxgan.runtime.processes': {'jax._src.distributed'}}


def _imports() -> dict[str, set[str]]:
  """{module: what it imports, of all packages}, of `jaxgan`."""
  paths = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
    for path in ROOT.glob('jaxgan/*/**/*.py')
  } | {f'jaxgan.{p.stem}': p for p in ROOT.glob('jaxgan/[a-z]*.py')}
  found: dict[str, set[str]] = {}
  for name, path in paths.items():
    names = found[name.removesuffix('.__init__')] = set()
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        names |= {alias.name for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return found


def _module(name: str, modules: dict) -> str:
  """The module that an imported name is, or is in; '' of other packages."""
  while name and name not in modules:
    name = name.rpartition('.')[0]
  return name


def _folder(name: str) -> str:
  return name.split('.')[1]


def _system(name: str) -> str:
  """The system that a module is part of, or ''."""
  _, folder, *rest = name.split('.')
  part = rest[0] if folder == 'systems' and rest else ''
  return part if part in SYSTEMS else ''


def test_files_import_in_the_order_of_folders_without_cycles():
  modules, graph = _imports(), {}
  for name, imported in modules.items():
    private = {n for n in imported if n.startswith('jax._src')}
    assert private <= PRIVATE.get(name, set()), name
    graph[name] = {_module(n, modules) for n in imported} - {'', name}
    for other in graph[name]:
      upward = ORDER.index(_folder(other)) > ORDER.index(_folder(name))
      assert not upward, f'{name} imports {other}'
      here, there = _system(name), _system(other)
      assert not here or there in ('', here), f'{name} imports {other}'
  # A package is whole when its files are; they do not wait for it.
  for name, others in graph.items():
    graph[name] = {o for o in others if not name.startswith(f'{o}.')}
  list(graphlib.TopologicalSorter(graph).static_order())  # CycleError


def test_training_needs_no_tensorflow():
  code = (
    'import sys; from jaxgan import evaluation, loop;'
    'import benchmarks.train_step; sys.exit("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_the_package_imports_nothing_before_it_is_asked_for():
  code = (
    'import sys, jaxgan; assert "jax" not in sys.modules;'
    'assert jaxgan.load.__module__ == "jaxgan.apps.trained_model"'
  )
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
