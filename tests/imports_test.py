import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent

# A module imports only from lower floors.
FLOORS = {
  'jaxgan.runs.collapse': 0,
  'jaxgan.runtime.errors': 0,
  'jaxgan.runtime.files': 0,
  'jaxgan.runtime.host': 0,
  'jaxgan.nets.layers': 0,
  'jaxgan.pytorch.torch_params': 0,
  'jaxgan.losses.adversarial': 0,
  'jaxgan.training.updates': 0,
  'jaxgan.systems.settings': 1,
  'jaxgan.losses.distances': 1,
  'jaxgan.runtime.images': 1,
  'jaxgan.data.preprocess': 0,
  'jaxgan.data.shapes': 0,
  'jaxgan.systems.stargan_v2.config': 0,
  'jaxgan.runtime.cli': 1,
  'jaxgan.runtime.processes': 1,
  'jaxgan.runtime.sharding': 1,
  'jaxgan.runs.finetune': 1,
  'jaxgan.runs.checkpoint': 1,
  'jaxgan.pytorch.torch_files': 1,
  'jaxgan.runs.workdir': 1,
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
  'jaxgan.metrics.inception_score': 3,
  'jaxgan.metrics.translations': 4,
  'jaxgan.systems.stargan_v2.networks': 1,
  'jaxgan.systems.stargan_v2.wing': 1,
  'jaxgan.metrics.factors': 5,
  'jaxgan.systems.stargan.convolutions': 0,
  'jaxgan.systems.stargan.labels': 0,
  'jaxgan.systems.stargan.config': 1,
  'jaxgan.systems.stargan.networks': 2,
  'jaxgan.systems.stargan.losses': 3,
  'jaxgan.systems.stargan.step': 4,
  'jaxgan.systems.stargan.sample': 4,
  'jaxgan.systems.stargan.labelled': 3,
  'jaxgan.systems.stargan.on_device': 4,
  'jaxgan.systems.stargan.data': 5,
  'jaxgan.systems.stargan.official': 5,
  'jaxgan.systems.stargan.evaluate': 7,
  'jaxgan.systems.stargan': 8,
  'jaxgan.nets.convolutions': 1,
  'jaxgan.nets.blocks': 2,
  'jaxgan.nets.vgg': 2,
  'jaxgan.pytorch.torch_adam': 0,
  'jaxgan.pytorch.convert': 2,
  'jaxgan.data.contracts.unpaired': 4,
  'jaxgan.metrics.styles': 6,
  'jaxgan.systems.munit.config': 0,
  'jaxgan.systems.munit.networks': 3,
  'jaxgan.systems.munit.losses': 4,
  'jaxgan.systems.munit.step': 5,
  'jaxgan.systems.munit.sample': 5,
  'jaxgan.systems.munit.official': 6,
  'jaxgan.systems.munit.evaluate': 7,
  'jaxgan.systems.munit': 8,
  'jaxgan.systems.unit.config': 0,
  'jaxgan.systems.unit.networks': 3,
  'jaxgan.systems.unit.losses': 4,
  'jaxgan.systems.unit.step': 5,
  'jaxgan.systems.unit.sample': 5,
  'jaxgan.systems.unit.official': 6,
  'jaxgan.systems.unit.evaluate': 7,
  'jaxgan.systems.unit': 8,
  'jaxgan.runs.logger': 2,
  'jaxgan.runs.report': 2,
  'jaxgan.data.contracts.domains_ref': 3,
  'jaxgan.systems.stargan_v2.losses': 2,
  'jaxgan.systems.stargan_v2.convert': 2,
  'jaxgan.systems.stargan_v2.align': 2,
  'jaxgan.systems.stargan_v2.step': 3,
  'jaxgan.systems.stargan_v2.sample': 3,
  'jaxgan.systems.stargan_v2.official': 4,
  'jaxgan.systems.stargan_v2.evaluate': 7,
  'jaxgan.systems.stargan_v2': 8,
  'jaxgan.systems': 9,
  'jaxgan.loop': 10,
  'jaxgan.scores': 10,
  'jaxgan.exchange': 10,
  'jaxgan.translation': 10,
  'jaxgan.gallery': 11,
  'jaxgan.apps.studio': 11,
  'jaxgan.tools.align_faces': 10,
  'jaxgan.tools.check_dataset': 10,
  'jaxgan.tools.export_checkpoint': 11,
  'jaxgan.tools.import_checkpoint': 11,
  'jaxgan.tools.export_model': 11,
  'jaxgan.tools.translate': 12,
  'jaxgan.tools.fid': 11,
  'jaxgan.tools.report': 11,
  'jaxgan.tools.studio': 12,
  'train': 11,
  'eval': 11,
  'benchmarks.peer': 10,
  'benchmarks.peer_munit': 11,
  'benchmarks.peer_unit': 12,
  'benchmarks.peer_stargan': 11,
  'benchmarks.peer_stargan_v2': 11,
  'benchmarks.peers': 13,
  'benchmarks.common': 10,
  'benchmarks.trainings': 11,
  'benchmarks.faults': 12,
  'benchmarks.train_step': 14,
  'benchmarks.translation': 14,
  'benchmarks.input_pipeline': 12,
  'benchmarks.domains': 12,
  'benchmarks.memory': 12,
  'benchmarks.long_run': 12,
  'benchmarks.collapse': 12,
  'benchmarks.precision': 12,
  'benchmarks.settings': 12,
  'benchmarks.side_by_side': 12,
  'benchmarks.start': 12,
  'benchmarks.evaluation': 12,
  'benchmarks.topologies': 12,
  'benchmarks.growth': 12,
}

# They never import each other.
SYSTEMS = (
  'jaxgan.systems.munit',
  'jaxgan.systems.stargan',
  'jaxgan.systems.stargan_v2',
  'jaxgan.systems.unit',
)

# The key-value store of the coordinator has no public name.
PRIVATE = {'jaxgan.runtime.processes': {'jax._src', 'jax._src.distributed'}}


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
      for system in SYSTEMS:
        if any(n.startswith(f'{system}.') for n in ours):
          ours.pop(system, None)
      wrong = {n: f for n, f in ours.items() if f >= FLOORS[name]}
      assert not wrong, f'{name} (floor {FLOORS[name]}) imports {wrong}'
      for system in SYSTEMS:
        siblings = [s for s in SYSTEMS if s != system]
        if name.startswith(f'{system}.'):
          odd = [
            n for n in ours if n.startswith(tuple(f'{s}.' for s in siblings))
          ]
          assert not odd, f'{name} imports {odd}'
    else:
      assert path.name == '__init__.py', f'{name} has no floor'
  assert seen == FLOORS.keys()


def test_training_needs_no_tensorflow():
  code = (
    'import sys; from jaxgan import loop, scores; import benchmarks.train_step;'
    'sys.exit("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0
