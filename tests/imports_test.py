import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent

# A module imports only from lower floors.
FLOORS = {
  'jaxgan.collapse': 0,
  'jaxgan.errors': 0,
  'jaxgan.files': 0,
  'jaxgan.host': 0,
  'jaxgan.layers': 0,
  'jaxgan.torch_params': 0,
  'jaxgan.adversarial': 0,
  'jaxgan.updates': 0,
  'jaxgan.distances': 1,
  'jaxgan.images': 1,
  'jaxgan.data.preprocess': 0,
  'jaxgan.data.shapes': 0,
  'jaxgan.stargan_v2.config': 0,
  'jaxgan.cli': 1,
  'jaxgan.processes': 1,
  'jaxgan.sharding': 1,
  'jaxgan.finetune': 1,
  'jaxgan.checkpoint': 1,
  'jaxgan.torch_files': 1,
  'jaxgan.workdir': 1,
  'jaxgan.data.sources': 1,
  'jaxgan.data.reading': 1,
  'jaxgan.data.pictures': 2,
  'jaxgan.data.feeding': 2,
  'jaxgan.data.cache': 2,
  'jaxgan.data.on_device': 2,
  'jaxgan.metrics.fid': 0,
  'jaxgan.metrics.inception': 1,
  'jaxgan.metrics.lpips': 0,
  'jaxgan.metrics.shapes': 1,
  'jaxgan.metrics.weights': 2,
  'jaxgan.metrics.classification': 2,
  'jaxgan.metrics.features': 3,
  'jaxgan.metrics.translations': 4,
  'jaxgan.stargan_v2.networks': 1,
  'jaxgan.stargan_v2.wing': 1,
  'jaxgan.metrics.factors': 5,
  'jaxgan.stargan.labels': 0,
  'jaxgan.stargan.config': 1,
  'jaxgan.stargan.networks': 1,
  'jaxgan.stargan.losses': 2,
  'jaxgan.stargan.step': 3,
  'jaxgan.stargan.sample': 3,
  'jaxgan.stargan.data': 4,
  'jaxgan.stargan.official': 5,
  'jaxgan.stargan.evaluate': 6,
  'jaxgan.stargan': 7,
  'jaxgan.logger': 2,
  'jaxgan.report': 2,
  'jaxgan.data.input_pipeline': 3,
  'jaxgan.stargan_v2.losses': 2,
  'jaxgan.stargan_v2.convert': 2,
  'jaxgan.stargan_v2.align': 2,
  'jaxgan.stargan_v2.step': 3,
  'jaxgan.stargan_v2.sample': 3,
  'jaxgan.stargan_v2.official': 4,
  'jaxgan.stargan_v2.evaluate': 5,
  'jaxgan.stargan_v2': 6,
  'jaxgan.systems': 7,
  'jaxgan.loop': 8,
  'jaxgan.scores': 8,
  'jaxgan.exchange': 8,
  'jaxgan.translation': 8,
  'jaxgan.gallery': 9,
  'jaxgan.studio': 9,
  'jaxgan.tools.align_faces': 8,
  'jaxgan.tools.check_dataset': 8,
  'jaxgan.tools.export_checkpoint': 9,
  'jaxgan.tools.import_checkpoint': 9,
  'jaxgan.tools.export_model': 9,
  'jaxgan.tools.translate': 10,
  'jaxgan.tools.fid': 9,
  'jaxgan.tools.report': 9,
  'jaxgan.tools.studio': 10,
  'train': 9,
  'eval': 9,
  'benchmarks.peer': 8,
  'benchmarks.common': 8,
  'benchmarks.trainings': 9,
  'benchmarks.faults': 10,
  'benchmarks.train_step': 10,
  'benchmarks.translation': 10,
  'benchmarks.input_pipeline': 10,
  'benchmarks.domains': 10,
  'benchmarks.memory': 10,
  'benchmarks.long_run': 10,
  'benchmarks.collapse': 10,
  'benchmarks.precision': 10,
  'benchmarks.settings': 10,
  'benchmarks.start': 10,
  'benchmarks.evaluation': 10,
  'benchmarks.topologies': 10,
  'benchmarks.growth': 10,
}

# The key-value store of the coordinator has no public name.
PRIVATE = {'jaxgan.processes': {'jax._src', 'jax._src.distributed'}}


def _modules():
  for path in [*ROOT.glob('jaxgan/**/*.py'), *ROOT.glob('benchmarks/*.py')]:
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    yield name.removesuffix('.__init__'), path
  for name in ('train', 'eval'):
    yield name, ROOT / f'{name}.py'


def _imports(path: pathlib.Path) -> set[str]:
  names = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names.add(node.module)
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def test_modules_import_only_lower_floors():
  seen = set()
  for name, path in _modules():
    imports = _imports(path)
    private = {n for n in imports if n.startswith('jax._src')}
    assert private <= PRIVATE.get(name, set()), name
    if name in FLOORS:
      seen.add(name)
      ours = {n: FLOORS[n] for n in imports if n in FLOORS}
      # `from package.x import y` also names the package itself.
      ours.pop(name.rpartition('.')[0], None)
      if any(n.startswith('jaxgan.stargan_v2.') for n in ours):
        ours.pop('jaxgan.stargan_v2', None)
      wrong = {n: f for n, f in ours.items() if f >= FLOORS[name]}
      assert not wrong, f'{name} (floor {FLOORS[name]}) imports {wrong}'
    else:
      assert path.name == '__init__.py', f'{name} has no floor'
  assert seen == FLOORS.keys()


def test_training_needs_no_tensorflow():
  code = (
    'import sys; from jaxgan import loop, scores; import benchmarks.train_step;'
    'sys.exit("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
