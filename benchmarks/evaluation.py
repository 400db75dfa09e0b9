"""Times the evaluation of a run, alone or against the original's own loop.

  python -m benchmarks.evaluation --workdir=DIR --weights_dir=DIR \\
    [--num_outputs=10] [--peer=DIR]

prints a table and, as the last line of stdout, one JSON object. With --peer, a
checkout of the original PyTorch code, its own loop scores the same networks on
the same folders of images through the same weights, after ours and in the same
run; it needs torch, torchvision, munch and tqdm.
"""

import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from absl import flags
from etils import epath

from benchmarks import common, peer_stargan_v2
from benchmarks import peer as peer_lib
from jaxgan.metrics.translations import BATCH, Options, Score, Scorer
from jaxgan.pytorch import convert
from jaxgan.runtime import cli, errors, sharding
from jaxgan.systems import contract
from jaxgan.systems.stargan_v2.names import names

_WORKDIR = cli.define_path('workdir', None, 'A run of data.name=folder.')
_WEIGHTS_DIR = cli.define_path(
  'weights_dir', None, 'Weights of the metric networks, under public names.'
)
_NUM_OUTPUTS = cli.define_integer('num_outputs', 10, 'Of each source.', 2)
_PEER = cli.define_path('peer', None, 'Checkout of the original to time.')
flags.mark_flags_as_required(['workdir', 'weights_dir'])

_LOADED = (
  'core/data_loader.py',
  'core/utils.py',
  'core/model.py',
  'metrics/fid.py',
  'metrics/lpips.py',
  'metrics/eval.py',
)
_STAND_INS = {'core.wing': ('FAN',), 'ffmpeg': ()}
_MODES = ('latent', 'reference')


def main() -> None:
  """Measures, and prints the result."""
  placement = sharding.replicated(sharding.create_local_mesh())
  run = contract.open_run(_WORKDIR.value, placement)
  if run.config.data.name != 'folder' or run.config.model.w_hpf:
    raise errors.UserError('--workdir must be of data.name=folder, w_hpf=0')
  device, threads = jax.devices()[0], common.num_cores()
  print(f'device: {device.device_kind}, {threads} CPU cores')
  with tempfile.TemporaryDirectory() as directory:
    root = pathlib.Path(directory)
    start = time.perf_counter()
    scores = {s.name: s for s in _evaluate(run, root)}
    result: dict[str, Any] = {'seconds': time.perf_counter() - start}
    theirs: Mapping[str, float] = {}
    if _PEER.value:
      start = time.perf_counter()
      theirs = _evaluate_peer(run, root)
      result['peer_seconds'] = time.perf_counter() - start
      result['speedup'] = result['peer_seconds'] / result['seconds']
  _print_table(scores, theirs)
  print(json.dumps({k: round(v, 3) for k, v in result.items()}), flush=True)


def _evaluate(run: contract.Run, root: pathlib.Path) -> Sequence[Score]:
  """From nothing to all scores: loading, compiling and real images included."""
  options = Options(
    num_outputs=_NUM_OUTPUTS.value,
    weights_dir=_WEIGHTS_DIR.value,
    cache_dir=str(root / 'cache'),
  )
  return run.system.scores(
    run.translator(chunk=BATCH),
    run.config,
    Scorer(options),
    run.system.create_data(run.config),
    seed=run.config.seed,
    save_dir=epath.Path(root),
  )


def _evaluate_peer(run: contract.Run, root: pathlib.Path) -> dict[str, float]:
  """The original's scores of the same networks, by our names."""
  torch = peer_lib.import_library('torch')
  munch = peer_lib.import_library('munch').Munch
  peer_lib.import_library('torchvision')
  _provide_weights(root)
  if not torch.cuda.is_available():
    torch.Tensor.cuda = lambda self: self  # written for a GPU alone
  config, data = run.config, run.config.data
  sources = peer_stargan_v2.read_sources(_PEER.value, config, _LOADED)
  modules = peer_lib.load(sources, _STAND_INS, {'FAN': object})
  nets = _build_nets(modules['core.model'], run, torch, munch)
  val = pathlib.Path(data.root, data.val_split).resolve()
  train = pathlib.Path(data.root, data.train_split).resolve()
  before = os.getcwd()
  os.chdir(root)  # it looks for its LPIPS weights below the current directory
  try:
    for mode in _MODES:
      args = munch(
        img_size=data.img_size,
        val_img_dir=str(val),
        train_img_dir=str(train),
        val_batch_size=BATCH,
        num_outs_per_domain=_NUM_OUTPUTS.value,
        latent_dim=config.model.latent_dim,
        w_hpf=0,
        eval_dir=str(root / 'eval'),
      )
      modules['metrics.eval'].calculate_metrics(
        nets, args, step=run.step, mode=mode
      )
  finally:
    os.chdir(before)
  return _read_scores(root / 'eval')


def _provide_weights(root: pathlib.Path) -> None:
  """Lays the weights where torchvision and the original look for them."""
  weights = pathlib.Path(_WEIGHTS_DIR.value).resolve()
  cache = root / 'torch' / 'hub' / 'checkpoints'
  cache.mkdir(parents=True)
  for path in weights.glob('*.pth'):
    (cache / path.name).symlink_to(path)
  os.environ['TORCH_HOME'] = str(root / 'torch')
  (root / 'metrics').mkdir()
  name = 'lpips_weights.ckpt'
  (root / 'metrics' / name).symlink_to(weights / name)


def _build_nets(code: Any, run: contract.Run, torch: Any, munch: Any) -> Any:
  """Their networks with our averaged weights."""
  config: ml_collections.ConfigDict = run.config
  model, data = config.model, config.data
  nets = munch(
    generator=code.Generator(data.img_size, model.style_dim, w_hpf=0),
    mapping_network=code.MappingNetwork(
      model.latent_dim, model.style_dim, model.num_domains
    ),
    style_encoder=code.StyleEncoder(
      data.img_size, model.style_dim, model.num_domains
    ),
  )
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  for name, net in nets.items():
    params = run.state.ema_params[name]
    state_dict = convert.to_tensors(names(name, params), params)
    tensors = {k: torch.tensor(np.array(v)) for k, v in state_dict.items()}
    net.load_state_dict(tensors)
    net.to(device).eval()
  return nets


def _read_scores(directory: pathlib.Path) -> dict[str, float]:
  scores = {}
  for path in directory.glob('*.json'):
    for key, value in json.loads(path.read_text()).items():
      metric, _, rest = key.partition('_')
      scores[f'{metric.lower()}/{rest}'] = value
  return scores


def _print_table(
  ours: Mapping[str, Score], theirs: Mapping[str, float]
) -> None:
  width = max(map(len, ours))
  print(f'{"score":<{width}}  {"ours":>10}  {"original":>10}')
  for name, score in ours.items():
    other = f'{theirs[name]:.4f}' if name in theirs else '-'
    print(f'{name:<{width}}  {score.value:>10.4f}  {other:>10}')


if __name__ == '__main__':
  cli.run(main, sys.argv)
