"""The flow of an evaluation, with networks that are looked through by hand."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan import errors, sharding
from jaxgan.metrics import features, fid, lpips, translations
from jaxgan.metrics.translations import Options, Scorer

SIZE = 8


class _Data:
  """33 validation or 5 training images of each of three domains."""

  domains = ('a', 'b', 'c')

  def __init__(self, count, start=0):
    self.counts = (count,) * 3
    self._start = start

  def images(self, domain, indices):
    for i in indices:
      value = (40 * domain + self._start + i) % 256
      yield i, np.full((SIZE, SIZE, 3), value, np.uint8)

  def pictures(self, domain, indices):
    return (Image.fromarray(x) for _, x in self.images(domain, indices))

  def digest(self, domain):
    return f'{self._start} {domain}'


class _Inception:
  """A picture's features: the colour of its first pixel and its square."""

  label = 'made'
  computed = 0

  def __init__(self, protocol, weights_dir):
    assert weights_dir == 'w'

  def compute(self, pictures, img_size):
    assert img_size == SIZE
    pixels = np.stack([np.asarray(p)[0, 0, :1] for p in pictures]) / 10.0
    _Inception.computed += len(pixels)
    return np.concatenate([pixels, pixels**2], 1)

  def compute_cached(self, pictures, img_size, *, content, cache_dir):
    return self.compute(pictures, img_size)


class _Lpips:
  label = 'made+made'

  def __init__(self, weights_dir):
    pass

  def distances(self, x):
    return x[:, :1, 0, 0, 0]  # what the first output is like


@pytest.fixture(autouse=True)
def networks(monkeypatch):
  monkeypatch.setattr(features, 'Inception', _Inception)
  monkeypatch.setattr(translations, '_Lpips', _Lpips)
  monkeypatch.delenv('JAXGAN_WEIGHTS', raising=False)


class _Outputs:
  """Two outputs of each source: itself, and darker."""

  def draw(self, num_sources, target, rng):
    return np.tile([1, 0.31], (num_sources, 1))

  def translate(self, x, drawn, target):
    factors = drawn[..., None, None, None]
    return np.float32(factors * x[:, None] + factors - 1)


def _score(tmp_path, val=None, **options):
  options = {'num_outputs': 2, 'weights_dir': 'w'} | options
  scorer = Scorer(Options(**options))
  scorer.options.check_domains(_Data.domains)
  scores = scorer.score(
    'latent',
    _Outputs(),
    _Data(5, 100),
    val or _Data(33),
    img_size=SIZE,
    seed=0,
    save_dir=tmp_path,
  )
  return {score.name: score for score in scores}


def test_every_ordered_pair_and_their_mean(tmp_path):
  scores = _score(tmp_path)
  pairs = ['b2a', 'c2a', 'a2b', 'c2b', 'a2c', 'b2c']
  for metric in ('pixel_distance', 'lpips', 'fid'):
    names = [f'{metric}/latent/{pair}' for pair in pairs]
    mean = np.mean([scores[name].value for name in names])
    assert scores[f'{metric}/latent/mean'].value == pytest.approx(mean)
  assert len(scores) == 3 * 7
  score = scores['fid/latent/a2b']
  assert (score.n_real, score.n_fake, score.weights) == (5, 66, 'made')
  assert score.protocol == 'stargan_v2 (shortened)'


def test_fid_compares_rounded_fakes_with_training_images(tmp_path):
  value = np.arange(33) / 127.5 - 1
  fakes = np.stack([value, 0.31 * value - 0.69], 1).reshape(-1, 1)
  fakes = np.rint((fakes + 1) * 127.5) / 10
  reals = np.arange(140, 145)[:, None] / 10
  expected = fid.frechet_distance(
    *(
      fid.Gaussian.of(np.concatenate([x, x**2], 1))
      for x in (reals.astype(np.float64), fakes)
    )
  )
  scores = _score(tmp_path)
  assert scores['fid/latent/a2b'].value == pytest.approx(expected, rel=1e-6)


def test_lpips_is_the_mean_of_batch_means(tmp_path):
  # The last batch is one image, and weighs as much as the 32 before it.
  value = np.arange(33) / 127.5 - 1
  expected = (value[:32].mean() + value[32]) / 2
  scores = _score(tmp_path)
  assert scores['lpips/latent/a2b'].value == pytest.approx(expected, rel=1e-5)


def test_pixel_distance_by_hand(tmp_path):
  # |x - (0.31 x - 0.69)| = 0.69 (x + 1)
  value = np.arange(33) / 127.5
  expected = 0.345 * (value[:32].mean() + value[32])
  scores = _score(tmp_path)
  distance = scores['pixel_distance/latent/a2b'].value
  assert distance == pytest.approx(expected, rel=1e-5)


def test_reals_are_seen_once(tmp_path):
  _Inception.computed = 0
  _score(tmp_path)
  assert _Inception.computed == 3 * 5 + 6 * 66


def test_clean_adds_scores_and_a_floor_at_equal_counts(tmp_path):
  scores = _score(tmp_path, protocol='clean', num_outputs=2)
  metrics = {name.partition('/')[0] for name in scores}
  assert metrics == {
    'pixel_distance',
    'lpips',
    'fid',
    'kid',
    'precision',
    'recall',
    'fid_equal',
    'fid_floor',
  }
  assert scores['fid_floor/latent/a2b'].n_fake == 33
  assert scores['fid_equal/latent/a2b'].n_fake == 33
  validation, reals = (np.arange(40, 73) / 10)[:, None], np.arange(140, 145)
  expected = fid.frechet_distance(
    *(
      fid.Gaussian.of(np.concatenate([x, x**2], 1))
      for x in (reals[:, None] / 10, validation)
    )
  )
  assert scores['fid_floor/latent/a2b'].value == pytest.approx(expected)


def test_a_shortened_look_is_marked(tmp_path):
  scores = _score(tmp_path, domains=('a', 'c'), num_sources=3, num_outputs=2)
  assert set(scores) == {
    f'{metric}/latent/{pair}'
    for metric in ('pixel_distance', 'lpips', 'fid')
    for pair in ('c2a', 'a2c', 'mean')
  }
  assert scores['fid/latent/a2c'].n_fake == 6
  assert Options().label == 'stargan_v2'
  assert Options(num_outputs=3).label == 'stargan_v2 (shortened)'


def test_a_single_domain_is_translated_to_itself(tmp_path, monkeypatch):
  monkeypatch.setattr(_Data, 'domains', ('a',))
  scores = _score(tmp_path)
  assert 'fid/latent/a2a' in scores and len(scores) == 3 * 2


def test_images_are_saved_under_the_names_of_the_original(tmp_path):
  _score(tmp_path, domains=('a', 'b'), save_images=True)
  names = sorted(p.name for p in (tmp_path / 'latent' / 'a2b').iterdir())
  assert names[:3] == ['0001_01.png', '0001_02.png', '0002_01.png']
  assert len(names) == 66 and names[-1] == '0033_02.png'
  with Image.open(tmp_path / 'latent' / 'a2b' / '0033_01.png') as image:
    assert image.getpixel((0, 0)) == (32, 32, 32)


def test_no_weights_named_leaves_networks_out(tmp_path, monkeypatch):
  monkeypatch.undo()
  monkeypatch.delenv('JAXGAN_WEIGHTS', raising=False)
  scorer = Scorer(Options())
  assert not scorer.labels
  assert len(scorer.left_out) == 2
  assert 'inception_v3_google-0cc3c7bd.pth is needed' in scorer.left_out[0]
  message = 'alexnet-owt-7be5be79.pth is missing: .* do without: --metrics=fid'
  with pytest.raises(errors.UserError, match=message):
    monkeypatch.setattr(features, 'Inception', _Inception)
    monkeypatch.setattr(_Inception, '__init__', lambda *args: None)
    Scorer(Options(weights_dir=str(tmp_path)))


@pytest.mark.parametrize(
  'options, message',
  [
    ({'protocol': 'x'}, 'protocol=x is unknown'),
    ({'metrics': ('x',)}, "names 'x'"),
    ({'num_outputs': 1}, 'num_outputs=1'),
    ({'num_sources': -1}, 'num_sources=-1'),
    ({'domains': ('d', 'a')}, "names 'd'.* a, b, c"),
    ({'domains': ('a',)}, 'names a alone'),
  ],
)
def test_what_cannot_be_measured_is_named(tmp_path, options, message):
  with pytest.raises(errors.UserError, match=message):
    _score(tmp_path, **options)


def test_one_training_image_is_too_few(tmp_path):
  scorer = Scorer(Options(weights_dir='w'))
  with pytest.raises(errors.UserError, match="'a' has 1 readable real"):
    scorer.score(
      'latent',
      _Outputs(),
      _Data(1),
      _Data(2),
      img_size=SIZE,
      seed=0,
      save_dir=tmp_path,
    )


def test_one_and_two_devices_agree():
  rng = np.random.default_rng(0)
  like = jax.eval_shape(
    lpips.AlexNet().init, jax.random.key(0), np.zeros((1, 32, 32, 3))
  )
  alexnet = jax.tree.map(
    lambda leaf: np.float32(rng.standard_normal(leaf.shape) / 30),
    like['params'],
  )
  linear = [np.float32(rng.random(w)) for w in lpips.WIDTHS]
  params = {'alexnet': alexnet, 'linear': linear}
  x = np.float32(rng.uniform(-1, 1, (3, 2, 32, 32, 3)))
  fn = jax.jit(lambda x: lpips.distances(params, x))
  two = sharding.create_local_mesh()
  assert two.size == 2
  one = jax.sharding.Mesh(jax.devices()[:1], ('data',))
  values = [sharding.map_chunks(fn, x, mesh=m, size=2) for m in (one, two)]
  np.testing.assert_allclose(*values, rtol=1e-5)
  assert values[0].shape == (3, 1) and values[0].min() > 0.1
