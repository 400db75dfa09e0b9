import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.metrics import inception, inception_score, weights
from jaxgan.pytorch import torch_files, torch_params
from jaxgan.runtime import errors

SURE = 1000.0  # of a logit: the others have no probability at all


def _logits(classes, num_classes=4):
  return SURE * np.eye(num_classes, dtype=np.float32)[np.array(classes)]


def test_as_many_classes_as_are_told_apart():
  # Two sources, four outputs each.
  for classes, of_all, of_one in (
    ([[0, 1, 2, 3], [3, 2, 1, 0]], 4, 4),
    ([[0, 0, 0, 0], [0, 0, 0, 0]], 1, 1),
    ([[0, 0, 0, 0], [1, 1, 1, 1]], 2, 1),  # the source alone decides
    ([[0, 0, 1, 1], [2, 2, 3, 3]], 4, 2),
  ):
    scores = inception_score.compute_scores(_logits(classes))
    assert scores == pytest.approx((of_all, of_one), rel=1e-12)
  unsure = np.zeros((2, 4, 4), np.float32)
  assert inception_score.compute_scores(unsure) == pytest.approx((1, 1))


def test_scores_of_given_probabilities_by_hand():
  p = np.array([[[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], [[0.5, 0.5, 0], [1, 0, 0]]])

  def divergence(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a)

  mean = p.mean((0, 1))
  of_all = np.mean([divergence(q, mean) for q in p.reshape(4, 3)])
  of_one = np.mean([divergence(q, s.mean(0)) for s in p for q in s])
  logits = np.log(np.maximum(p, 1e-300)) + np.arange(4).reshape(2, 2, 1)
  scores = inception_score.compute_scores(logits)
  assert scores == pytest.approx((np.exp(of_all), np.exp(of_one)), rel=1e-12)
  assert 1.2 < scores[1] < scores[0] < 3


@pytest.mark.parametrize('size', [5, 310])
def test_the_input_is_that_of_torch(size):
  torch = pytest.importorskip('torch')
  x = np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3))
  x = x.astype(np.float32)
  h = (torch.tensor(x.transpose(0, 3, 1, 2)) + 1) / 2
  h = torch.nn.Upsample((299, 299), mode='bilinear')(h)
  mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
  theirs = [
    h[:, i] * (s / 0.5) + (m - 0.5) / 0.5
    for i, (m, s) in enumerate(zip(mean, std, strict=True))
  ]
  ours = jax.jit(inception_score.prepare)(x)
  np.testing.assert_allclose(ours, torch.stack(theirs, -1).numpy(), atol=1e-5)


def test_outputs_are_clipped():
  x = jnp.array([-3.0, 2.0])[:, None, None, None] * jnp.ones((1, 4, 4, 3))
  ours = np.asarray(inception_score.prepare(x))
  for i in range(2):
    for channel, (m, s) in enumerate(((0.485, 0.229), (0.456, 0.224))):
      wanted = 2 * (i * s + m) - 1
      np.testing.assert_allclose(ours[i, ..., channel], wanted, rtol=1e-5)


def _state_dict(classes):
  """Of Inception, as torchvision names it, in no memory but for the logits."""
  network = inception.InceptionV3(num_classes=classes)
  like = jax.eval_shape(
    network.init, jax.random.key(0), jnp.zeros((1, 299, 299, 3))
  )['params']
  assert like['fc']['kernel'].shape == (inception.WIDTH, classes)
  zeros = jax.tree.map(
    lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), like
  )
  rng = np.random.default_rng(0)
  return torch_params.to_state_dict(zeros) | {
    'fc.weight': rng.normal(size=(classes, inception.WIDTH)).astype(np.float32),
    'fc.bias': rng.normal(size=classes).astype(np.float32),
    'AuxLogits.fc.weight': np.zeros((1000, 768), np.float32),
  }


@pytest.fixture
def directory(tmp_path, monkeypatch):
  """Classifiers of two domains, and the public file; content is made up."""
  monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
  names = ('big_cat', 'dog', 'v3_google-0cc3c7bd')
  contents = {}
  for i, name in enumerate(names):
    path = tmp_path / f'inception_{name}.pth'
    path.write_bytes(name.encode())
    contents[str(path)] = _state_dict(3 + i)
  monkeypatch.setattr(torch_files, 'load', lambda p: contents[str(p)])
  return tmp_path, contents


class _Seen(nn.Module):
  """In place of Inception: logits of the mean colour."""

  num_classes: int

  @nn.compact
  def __call__(self, x):
    assert x.shape[1:] == (299, 299, 3)
    return nn.Dense(self.num_classes, name='fc')(
      jnp.tile(x.mean((1, 2)), (1, inception.WIDTH))[:, : inception.WIDTH]
    )


def test_each_domain_is_seen_through_its_own_file(directory, monkeypatch):
  root, contents = directory
  classifiers = inception_score.Classifiers(str(root))
  assert set(classifiers.labels) == {'big_cat', 'dog'}
  assert all(len(label) == 8 for label in classifiers.labels.values())
  assert classifiers.label == '+'.join(classifiers.labels.values())
  classifiers.prepare(['big_cat', 'dog', 'dog'])
  with pytest.raises(weights.MissingWeightsError) as error:
    classifiers.prepare(['dog', 'owl'])
  assert str(error.value).startswith(f'{root}/inception_owl.pth is missing: ')

  # The last layer, through colours: the rest is that of FID.
  monkeypatch.setattr(inception, 'InceptionV3', _Seen)
  values = np.linspace(-1, 1, 70, dtype=np.float32).reshape(35, 2, 1, 1, 1)
  x = np.broadcast_to(values, (35, 2, 4, 4, 3))
  mean, std = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
  seen = 2 * (std * (values[..., 0, 0] + 1) / 2 + mean) - 1
  seen = np.tile(seen, inception.WIDTH)[..., : inception.WIDTH]
  for domain, classes in (('dog', 4), ('big_cat', 3)):
    tensors = contents[f'{root}/inception_{domain}.pth']
    logits = classifiers.logits(x, domain)
    assert logits.shape == (35, 2, classes)
    wanted = seen @ tensors['fc.weight'].T + tensors['fc.bias']
    np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-3)
    assert classifiers.logits(x[:0], domain).shape == (0, 2, classes)


def test_a_file_is_read_once_while_its_domain_is_looked_at(
  directory, monkeypatch
):
  root, contents = directory
  classifiers = inception_score.Classifiers(str(root))
  read = []
  load = torch_files.load
  monkeypatch.setattr(torch_files, 'load', lambda p: read.append(p) or load(p))
  nothing = np.zeros((0, 1, 4, 4, 3), np.float32)
  for domain in ('dog', 'dog', 'big_cat', 'dog'):
    classifiers.logits(nothing, domain)
  assert [path.name for path in read] == [
    f'inception_{name}.pth' for name in ('dog', 'big_cat', 'dog')
  ]


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda d: d.pop('fc.weight'), 'no tensor fc.weight of 2048 weights a cl'),
    (lambda d: d.pop('fc.bias'), 'no InceptionV3: there is no tensor fc.bias'),
    (
      lambda d: d.update({'fc.weight': np.zeros((3, 768))}),
      'no tensor fc.weight of 2048 weights a class',
    ),
    (
      lambda d: d.pop('Mixed_7c.branch1x1.conv.weight'),
      'no tensor Mixed_7c.branch1x1.conv.weight',
    ),
  ],
)
def test_a_bad_file_is_one_line(directory, damage, message):
  root, contents = directory
  damage(contents[f'{root}/inception_dog.pth'])
  with pytest.raises(errors.UserError, match=message) as error:
    weights.load_classifier(str(root), 'dog')
  assert 'inception_dog.pth' in str(error.value)


def test_no_directory_and_no_file(tmp_path, monkeypatch):
  monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
  with pytest.raises(
    weights.MissingWeightsError,
    match='inception_<domain>.pth is needed for each domain: .* --weights_dir',
  ):
    weights.find_classifiers('')
  with pytest.raises(
    weights.MissingWeightsError, match='inception_<domain>.pth is missing'
  ):
    weights.find_classifiers(str(tmp_path))
  (tmp_path / 'inception_dog.pth').write_bytes(b'1')
  monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
  assert list(weights.find_classifiers('')) == ['dog']


def test_all_classifiers_that_are_missing_are_named(tmp_path):
  (tmp_path / 'inception_dog.pth').write_bytes(b'1')
  judges = inception_score.Classifiers(str(tmp_path))
  with pytest.raises(weights.MissingWeightsError) as error:
    judges.prepare(['cat', 'dog', 'wild'])
  for domain in ('cat', 'wild'):
    assert f'{tmp_path}/inception_{domain}.pth is missing' in str(error.value)
  assert 'inception_dog' not in str(error.value)


@pytest.mark.slow
def test_logits_are_those_of_torchvision():
  torch = pytest.importorskip('torch')
  models = pytest.importorskip('torchvision').models
  torch.manual_seed(0)
  network = models.inception_v3(
    num_classes=5, transform_input=True, init_weights=False
  ).eval()
  for name, tensor in network.state_dict().items():
    if name.endswith('running_mean'):
      tensor.normal_(0, 0.1)
    elif name.endswith('running_var'):
      tensor.uniform_(0.5, 1.5)
    elif tensor.ndim == 4:
      torch.nn.init.kaiming_normal_(tensor)
  state_dict = {k: v.numpy() for k, v in network.state_dict().items()}
  ours = inception.InceptionV3(num_classes=5)
  like = jax.eval_shape(
    ours.init, jax.random.key(0), jnp.zeros((1, 299, 299, 3))
  )
  params = torch_params.from_state_dict(state_dict, like['params'])
  x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3))
  x[1] = x[1] * 0.2 + np.linspace(-0.8, 0.8, 64)[:, None, None]
  x = x.astype(np.float32)
  h = (torch.tensor(x.transpose(0, 3, 1, 2)) + 1) / 2
  upsample = functools.partial(
    torch.nn.functional.interpolate, size=(299, 299), mode='bilinear'
  )
  with torch.no_grad():
    theirs = network(upsample(h)).numpy()
  logits = np.asarray(inception_score._apply(params, x))
  apart = np.abs(theirs[0] - theirs[1]).max()
  assert apart > 0.03
  np.testing.assert_allclose(logits, theirs, atol=1e-3 * apart)
