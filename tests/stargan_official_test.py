"""Files of the original: what is in them is read, and comes back."""

import collections
import functools

import jax
import numpy as np
import pytest

from jaxgan.apps import import_export
from jaxgan.pytorch import torch_files
from jaxgan.runtime import errors
from jaxgan.systems import contract, stargan
from tests import tiny_stargan as tiny

torch = pytest.importorskip('torch')
nn = torch.nn

C_DIM = 3


def _normed(convolution, width):
  norm = nn.InstanceNorm2d(width, affine=True, track_running_stats=True)
  return [convolution, norm, nn.ReLU()]


class _Block(nn.Module):
  def __init__(self, width):
    super().__init__()
    convolutions = (nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in 'ab')
    layers = [x for conv in convolutions for x in _normed(conv, width)]
    self.main = nn.Sequential(*layers[:-1])

  def forward(self, x):
    return x + self.main(x)


class _Generator(nn.Module):
  """PyTorch's numbering of the generator, written from the paper's table."""

  def __init__(self, width=4, blocks=1):
    super().__init__()
    layers = _normed(nn.Conv2d(3 + C_DIM, width, 7, 1, 3, bias=False), width)
    for i in (1, 2):
      halving = nn.Conv2d(width * i, width * 2 * i, 4, 2, 1, bias=False)
      layers += _normed(halving, width * 2 * i)
    layers += [_Block(width * 4) for _ in range(blocks)]
    for i in (2, 1):
      doubling = nn.ConvTranspose2d(
        width * 2 * i, width * i, 4, 2, 1, bias=False
      )
      layers += _normed(doubling, width * i)
    layers += [nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh()]
    self.main = nn.Sequential(*layers)

  def forward(self, x, c):
    planes = c[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return self.main(torch.cat([x, planes], dim=1))


class _Discriminator(nn.Module):
  def __init__(self, size=tiny.SIZE, width=4, halvings=2):
    super().__init__()
    layers, last = [], 3
    for i in range(halvings):
      layers += [nn.Conv2d(last, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.01)]
      last = width * 2**i
    self.main = nn.Sequential(*layers)
    self.conv1 = nn.Conv2d(last, 1, 3, 1, 1, bias=False)
    self.conv2 = nn.Conv2d(last, C_DIM, size // 2**halvings, bias=False)

  def forward(self, x):
    h = self.main(x)
    return self.conv1(h), self.conv2(h)[:, :, 0, 0]


def _nets():
  return {'G': _Generator(), 'D': _Discriminator()}


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  """(path of 7-G.ckpt, {letter: tensors}); every tensor has been changed."""
  folder = tmp_path_factory.mktemp('original')
  generator, written = torch.Generator().manual_seed(0), {}
  for letter, net in _nets().items():
    state_dict = collections.OrderedDict(
      (key, torch.full_like(x, 5))
      if key.endswith('tracked')
      else (key, torch.randn(x.shape, generator=generator))
      for key, x in net.state_dict().items()
    )
    torch.save(state_dict, folder / f'7-{letter}.ckpt')
    written[letter] = {k: x.numpy() for k, x in state_dict.items()}
  return folder / '7-G.ckpt', written


def test_every_tensor_comes_back(original, tmp_path, capsys):
  path, written = original
  run, out = tmp_path / 'run', tmp_path / 'out'
  # Either of the two files tells of both.
  import_export.import_run(
    str(path.with_name('7-D.ckpt')), tiny.config(), str(run)
  )
  assert 'a run at step 7: weights without opt' in capsys.readouterr().out
  import_export.export_run(str(run), str(out))
  assert sorted(p.name for p in out.iterdir()) == ['7-D.ckpt', '7-G.ckpt']
  for letter, tensors in written.items():
    back = torch_files.load(out / f'7-{letter}.ckpt')
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
      assert back[key].dtype == value.dtype, key
      np.testing.assert_array_equal(back[key], value, err_msg=key)
  assert written['G']['main.1.num_batches_tracked'].dtype == np.int64
  with pytest.raises(errors.UserError, match='7-G.ckpt exists'):
    import_export.export_run(str(run), str(out))


def test_what_is_imported_is_a_run(original, tmp_path):
  path, _ = original
  config = tiny.config(hparams__n_critic=5)
  config, state, frozen, partial, *_ = stargan.import_official(path, config)
  assert int(state.step) == 7 and not partial and set(frozen) == {'unused'}
  assert list(config.data.domains) == ['circle', 'square', 'triangle']
  assert config.model.num_domains == 3
  state = stargan.import_official(path, config, 9).state
  assert int(state.step) == 9 and state.step.dtype == np.int32
  init = functools.partial(stargan.init_state, stargan.create_model(config))
  fresh = jax.eval_shape(init, jax.random.key(0))
  assert jax.tree.structure(state) == jax.tree.structure(fresh)
  for a, b in zip(*map(jax.tree.leaves, (state, fresh)), strict=True):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)


def _load(folder, number):
  nets = _nets()
  for letter, net in nets.items():
    tensors = torch.load(folder / f'{number}-{letter}.ckpt')
    net.load_state_dict(tensors)  # strict: no name is missing or unknown
  return nets


def test_a_run_begun_here_does_in_pytorch_what_it_does_here(tmp_path):
  state, model = tiny.create()
  params = jax.tree.map(lambda x: x + 0.01, state.params)  # norms too
  state = state.replace(params=params, step=np.int32(5))
  config = tiny.config(**tiny.DOMAINS)
  made = stargan.export_official(state, {}, config, False)
  for name, tensors in made.items():
    torch_files.save(tmp_path / name, tensors)
  nets = _load(tmp_path, 5)
  for key, value in nets['G'].state_dict().items():
    if key.endswith('running_var'):
      assert (value == 1).all()
    elif 'running' in key or key.endswith('tracked'):
      assert not value.any()

  batch = tiny.drawn()
  x, c = (torch.from_numpy(np.array(batch[k])) for k in ('x0', 'c0'))
  with torch.no_grad():
    x = x.permute(0, 3, 1, 2)
    fake, (source, logits) = nets['G'](x, c), nets['D'](x)
  got = tiny.translate_fn(model)(params, batch['x0'], batch['c0'])
  np.testing.assert_allclose(got, fake.permute(0, 2, 3, 1), atol=1e-5)
  got = tiny.discriminate_fn(model)(params, batch['x0'])
  np.testing.assert_allclose(got[0], source[:, 0], atol=1e-5)
  np.testing.assert_allclose(got[1], logits, atol=1e-5)


def _copy(original, folder, change=None):
  """The files under a folder, after change({letter: tensors})."""
  _, written = original
  trees = {letter: dict(tensors) for letter, tensors in written.items()}
  if change:
    change(trees)
  for letter, tree in trees.items():
    torch_files.save(folder / f'7-{letter}.ckpt', tree)
  return folder / '7-G.ckpt'


@pytest.mark.parametrize(
  'change, overrides, message',
  [
    (None, {'model__g_conv_dim': 8}, 'G.ckpt does not fit the config: gener'),
    (None, {'model__d_conv_dim': 2}, 'D.ckpt does not fit the config: discr'),
    (None, {'model__g_repeat_num': 2}, 'G.ckpt does not fit the config: gener'),
    (None, {'model__d_repeat_num': 3}, 'D.ckpt does not fit the config: discr'),
    (None, {'model__d_repeat_num': 1}, 'D.ckpt does not fit the config: discr'),
    (
      None,
      {'data__domains': ('circle', 'square')},
      r'main.0.weight has shape \(4, 6, 7, 7\)',
    ),
    (
      lambda t: t['D'].update(more=np.ones(1, np.float32)),
      {},
      'there are 1 more tensors, the first is more',
    ),
    (lambda t: t['G'].pop('main.1.bias'), {}, 'there is no tensor main.1.bias'),
    (lambda t: t.update(D={'x': {}}), {}, 'D.ckpt is not the state dict of on'),
    (lambda t: t.pop('D'), {}, 'there is no file .*7-D.ckpt: both N-G'),
  ],
)
def test_what_does_not_fit_is_one_line(
  original, tmp_path, change, overrides, message
):
  path = _copy(original, tmp_path, change)
  with pytest.raises(errors.UserError, match=message) as error:
    stargan.import_official(path, tiny.config(**overrides))
  assert len(str(error.value).splitlines()) == 1


def test_a_foreign_file_and_another_name_are_one_line(original, tmp_path):
  path = _copy(original, tmp_path)
  path.write_bytes(b'GIF89a')
  with pytest.raises(errors.UserError, match='7-G.ckpt is a picture, no'):
    import_export.import_run(str(path), tiny.config(), str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()
  other = path.rename(tmp_path / 'generator.ckpt')
  with pytest.raises(errors.UserError, match='200000-D.ckpt: rename both'):
    stargan.import_official(other, tiny.config())


def test_labels_are_given_or_taken_from_the_data(original, tmp_path):
  path, _ = original
  settings = {'data__name': 'folder', 'data__root': str(tmp_path)}
  with pytest.raises(errors.UserError, match='names of the labels .*angry'):
    stargan.import_official(path, tiny.config(**settings))
  for name in ('sad', 'angry', 'happy'):
    (tmp_path / 'train' / name).mkdir(parents=True)
    (tmp_path / 'train' / name / '0.png').touch()
  config = stargan.import_official(path, tiny.config(**settings)).config
  assert tuple(config.data.domains) == ('angry', 'happy', 'sad')
  given = tiny.config(data__name='celeba', data__domains=('a', 'b', 'c'))
  config = stargan.import_official(path, given).config
  assert contract.domain_names(config) == ('a', 'b', 'c')


def test_a_parallel_module_is_read_too(original, tmp_path):
  def change(trees):
    for letter, tensors in trees.items():
      trees[letter] = {f'module.{k}': x for k, x in tensors.items()}

  path = _copy(original, tmp_path, change)
  a, b = (
    stargan.import_official(p, tiny.config()).state.params
    for p in (path, original[0])
  )
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_another_step_than_that_of_the_name_is_said(original, caplog):
  path, _ = original
  state = stargan.import_official(path, tiny.config(), 5).state
  assert int(state.step) == 5
  assert (
    f'{path} is of step 7 by its name, and becomes step 5, as --step has it'
    in caplog.text
  )
  caplog.clear()
  stargan.import_official(path, tiny.config(), 7)
  assert not caplog.text


def test_files_of_stargan_v2_are_not_those_of_stargan(original, tmp_path):
  path, _ = original
  import_export.import_run(str(path), tiny.config(), str(tmp_path / 'run'))
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  run = contract.open_run(tmp_path / 'run', device)
  assert run.config.system == 'stargan' and run.step == 7
