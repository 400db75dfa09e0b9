"""The flow of an evaluation, with networks that are looked through by hand."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxgan.metrics import (
  classification,
  features,
  fid,
  inception_score,
  lpips,
  translations,
  weights,
)
from jaxgan.metrics.translations import Options, Scorer
from jaxgan.runtime import errors, sharding

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


class _Once:
  """One output of each source: what `change` makes of it."""

  def __init__(self, change=lambda x, target: x):
    self._change = change

  def draw(self, num_sources, target, rng):
    return np.zeros((num_sources, 1))

  def translate(self, x, drawn, target):
    assert drawn.shape == (len(x), 1)
    return self._change(x, target)[:, None]


def _score(tmp_path, val=None, outputs=None, **options):
  options = {'num_outputs': 2, 'weights_dir': 'w'} | options
  scorer = Scorer(Options(**options))
  scorer.options.check_domains(_Data.domains)
  scores = scorer.score(
    'latent',
    outputs or _Outputs(),
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


def test_one_output_of_a_source_has_no_distances(tmp_path):
  scores = _score(tmp_path, outputs=_Once(), save_images=True)
  assert {name.partition('/')[0] for name in scores} == {'fid'}
  assert scores['fid/latent/a2b'].n_fake == 33
  assert scores['fid/latent/mean'].n_fake == 6 * 33
  rounded = (np.arange(33) / 10)[:, None]
  reals = (np.arange(140, 145) / 10)[:, None]
  expected = fid.frechet_distance(
    *(fid.Gaussian.of(np.concatenate([x, x**2], 1)) for x in (reals, rounded))
  )
  assert scores['fid/latent/a2b'].value == pytest.approx(expected, rel=1e-6)
  names = sorted(p.name for p in (tmp_path / 'latent' / 'a2b').iterdir())
  assert names[:2] == ['0001_01.png', '0002_01.png'] and len(names) == 33
  # Nothing that needs a pair, and no network: nothing to say, and no mistake.
  assert not _score(tmp_path, outputs=_Once(), metrics=())


class _Grey:
  """Three domains, dark, grey and light, told apart without training."""

  domains = ('a', 'b', 'c')

  def __init__(self, counts, values=(40, 120, 200)):
    self.counts, self._values = counts, values
    self.read = 0

  def images(self, domain, indices):
    for i in indices:
      self.read += 1
      yield i, np.full((SIZE, SIZE, 3), self._values[domain] + i, np.uint8)

  def digest(self, domain):
    return f'{self._values[domain]} {self.counts[domain]}'


def _predict_by_brightness(params, x):
  assert params == 'trained' and x.dtype == np.uint8 and x.ndim == 4
  return -np.abs(x[:, 0, 0, :1] - np.float32([[40, 120, 200]]))


@pytest.fixture
def classify(tmp_path, monkeypatch):
  """(what was trained, scores of outputs by a classifier of brightness)."""
  trained = []

  def load_or_train(draw, num_labels, **options):
    trained.append((draw, num_labels, options))
    return 'trained'

  monkeypatch.setattr(classification, 'load_or_train', load_or_train)
  monkeypatch.setattr(classification, 'predict', _predict_by_brightness)
  scorer = Scorer(Options(metrics=('classification',), cache_dir='kept'))
  assert scorer.labels == {'classification': classification.LABEL}

  def classify(change, train=None, val=None, mode='latent'):
    scores = scorer.score(
      mode,
      _Once(change),
      train or _Grey((9, 8, 7)),
      val or _Grey((4, 3, 2)),
      img_size=SIZE,
      seed=0,
      save_dir=tmp_path,
    )
    return {score.name: score for score in scores}

  return trained, classify


def _real(x, target):
  return np.full_like(x, (40, 120, 200)[target] / 127.5 - 1)


def test_classification_error_of_real_and_of_unchanged_images(classify):
  trained, classify = classify
  for change, error in ((_real, 0), (lambda x, target: x, 1)):
    scores = classify(change)
    assert len(scores) == 2 * 7
    for pair in ('b2a', 'c2a', 'a2b', 'c2b', 'a2c', 'b2c', 'mean'):
      assert scores[f'classification_error/latent/{pair}'].value == error
      assert scores[f'classification_floor/latent/{pair}'].value == 0
  score = scores['classification_error/latent/a2b']
  assert (score.n_fake, score.weights) == (4, classification.LABEL)
  assert scores['classification_floor/latent/a2b'].n_fake == 3
  ((_, num_labels, options),) = trained  # once for both
  assert num_labels == 3 and options['exclusive'] is True
  assert options['img_size'] == SIZE and options['cache_dir'] == 'kept'
  assert options['content'] == '["40 9", "120 8", "200 7"]'


def test_classification_errors_are_shares(classify):
  _, classify = classify

  def one_of_four(x, target):
    return np.where(np.arange(len(x))[:, None, None, None] == 1, x, _real(x, 1))

  # Of 79, 80 and 81 the last alone is nearer to 120 than to 40.
  floor = _Grey((4, 3, 2), values=(40, 79, 200))
  scores = classify(one_of_four, val=floor)
  assert scores['classification_error/latent/a2b'].value == 0.25
  assert scores['classification_error/latent/b2a'].value == pytest.approx(2 / 3)
  assert scores['classification_floor/latent/a2b'].value == pytest.approx(2 / 3)
  assert scores['classification_floor/latent/a2c'].value == 0


def test_other_training_images_make_another_classifier(classify):
  trained, classify = classify
  val = _Grey((4, 3, 2))
  for counts in ((9, 8, 7), (9, 8, 7), (9, 8, 6)):
    classify(_real, train=_Grey(counts), val=val)
  assert len(trained) == 2
  # 4 + 3 + 2 sources into two domains each, thrice; reals for two classifiers.
  assert val.read == 9 * 2 * 3 + 9 * 2


def test_a_classifier_draws_its_domains_alike_and_reads_them_once(
  classify, monkeypatch
):
  trained, classify = classify
  train = _Grey((9, 1, 7))
  classify(_real, train=train)
  assert train.read == 0  # before anything is drawn
  draw = trained[0][0]
  labels = np.zeros(3)
  for step in range(20):
    x, y = draw(step)
    assert x.dtype == np.uint8 and x.shape[1:] == (SIZE, SIZE, 3)
    domain = y.argmax(1)
    np.testing.assert_array_equal(y, np.eye(3)[domain])
    first = np.array((40, 120, 200))[domain]
    offset = x[:, 0, 0, 0] - first
    assert (offset >= 0).all() and (offset < np.array((9, 1, 7))[domain]).all()
    labels += y.mean(0) / 20
  assert train.read == 17
  np.testing.assert_allclose(labels, 1 / 3, atol=0.05)
  np.testing.assert_array_equal(draw(3)[0], draw(3)[0])
  assert (draw(3)[0] != draw(4)[0]).any()

  # Room for nine images: three of each domain, from its start to its end.
  monkeypatch.setattr(translations, '_HELD', 9 * SIZE * SIZE * 3)
  train = _Grey((9, 1, 7))
  draw = translations._LabelledDraws(train, SIZE)
  seen = np.concatenate([draw(step)[0][:, 0, 0, 0] for step in range(20)])
  assert set(seen.tolist()) == {40, 43, 46, 120, 200, 202, 204}
  assert train.read == 7


def test_a_single_domain_has_nothing_to_tell_apart(classify, monkeypatch):
  _, classify = classify
  monkeypatch.setattr(_Grey, 'domains', ('a',))
  with pytest.raises(errors.UserError, match='data has one domain'):
    classify(_real)


class _Judges:
  """Two classes: an output is of the second where its red is above 0."""

  labels = {'a': 'of a', 'b': 'of b', 'c': 'of c'}
  label = 'of a+of b+of c'
  prepared = []

  def __init__(self, weights_dir):
    pass

  def prepare(self, domains):
    domains = list(domains)
    _Judges.prepared.append(domains)
    for domain in domains:
      if domain not in self.labels:
        raise weights.MissingWeightsError(f'inception_{domain}.pth is missing')

  def logits(self, x, domain):
    assert x.ndim == 5 and domain in self.prepared[-1]
    classes = (np.asarray(x)[..., 0, 0, 0] > 0).astype(int)
    return 1000 * np.eye(2, dtype=np.float32)[classes]


class _LightAndDark:
  """Two outputs of each source; those of the first eight differ."""

  def draw(self, num_sources, target, rng):
    apart = np.where(np.arange(num_sources) < 8, -1.0, 1.0)
    return np.stack([np.ones(num_sources), apart], 1)

  def translate(self, x, drawn, target):
    return np.float32(np.ones_like(x)[:, None] * drawn[..., None, None, None])


@pytest.fixture
def judges(monkeypatch):
  monkeypatch.setattr(inception_score, 'Classifiers', _Judges)
  monkeypatch.setattr(_Judges, 'prepared', [])


def _entropy(share):
  return -share * np.log(share) - (1 - share) * np.log(1 - share)


def test_inception_scores_are_of_the_classes_of_the_target(tmp_path, judges):
  scores = _score(
    tmp_path, outputs=_LightAndDark(), metrics=('inception_score',)
  )
  pairs = ['b2a', 'c2a', 'a2b', 'c2b', 'a2c', 'b2c', 'mean']
  # Of 66 outputs 8 are dark; the pairs of 8 of 33 sources have both kinds.
  of_all, of_one = np.exp(_entropy(8 / 66)), np.exp(8 / 33 * np.log(2))
  for pair in pairs:
    score = scores[f'inception_score/latent/{pair}']
    assert score.value == pytest.approx(of_all, rel=1e-12)
    score = scores[f'conditional_inception_score/latent/{pair}']
    assert score.value == pytest.approx(of_one, rel=1e-12)
  assert len(scores) == 3 * 7  # and the distances of pixels
  score = scores['inception_score/latent/a2b']
  assert (score.weights, score.n_real, score.n_fake) == ('of b', None, 66)
  mean = scores['conditional_inception_score/latent/mean']
  assert (mean.weights, mean.n_fake) == (_Judges.label, 6 * 66)
  assert _Judges.prepared == [['a', 'a', 'b', 'b', 'c', 'c']]


def test_one_output_of_a_source_has_no_conditional_score(tmp_path, judges):
  scores = _score(
    tmp_path,
    outputs=_Once(lambda x, target: np.sign(x + 0.8)),
    metrics=('inception_score',),
  )
  assert {name.partition('/')[0] for name in scores} == {'inception_score'}
  # From 0.2 * 127.5 = 25.5 on: 26 of the 33 sources of a are dark.
  value = scores['inception_score/latent/a2b'].value
  assert value == pytest.approx(np.exp(_entropy(7 / 33)))
  assert scores['inception_score/latent/b2a'].value == 1


def test_a_process_without_sources_gets_the_inception_scores_of_all(
  tmp_path, judges, monkeypatch
):
  # Of the other process: the number of sources, their distances, the logits.
  others = {
    1: np.array([2]),
    2: np.ones((2, 1)),
    3: 1000 * np.eye(2)[np.array([[0, 1], [1, 1]])],
  }

  def gather(x):
    assert x.sum() == 0 and x.shape[1:] == others[x.ndim].shape[1:]
    return others[x.ndim]

  monkeypatch.setattr(sharding, 'own_part', lambda count: slice(0, 0))
  monkeypatch.setattr(sharding, 'gather', gather)
  scores = _score(
    tmp_path, outputs=_LightAndDark(), metrics=('inception_score',)
  )
  score = scores['inception_score/latent/a2b']
  assert score.value == pytest.approx(np.exp(_entropy(1 / 4)))
  assert score.n_fake == 4
  value = scores['conditional_inception_score/latent/a2b'].value
  assert value == pytest.approx(np.sqrt(2))


def test_classifiers_are_looked_for_only_if_asked_for(tmp_path, judges):
  scores = _score(tmp_path, metrics=('lpips',))
  assert not _Judges.prepared
  assert not any('inception_score' in name for name in scores)


def test_a_domain_without_a_classifier_is_named_before_the_work(
  tmp_path, judges, monkeypatch
):
  monkeypatch.setattr(_Judges, 'labels', {'a': 'of a'})
  message = r'inception_b.pth is missing; or do without: --metrics=lpips$'
  with pytest.raises(errors.UserError, match=message):
    _score(tmp_path, outputs=object(), metrics=('lpips', 'inception_score'))


def test_no_classifiers_at_all(tmp_path, monkeypatch):
  scorer = Scorer(Options(metrics=('inception_score',)))
  assert not scorer.labels
  (reason,) = scorer.unavailable
  assert reason.startswith('inception_score: inception_<domain>.pth is needed')
  message = r'<domain>.pth is missing for each domain$'
  with pytest.raises(errors.UserError, match=message):
    Scorer(Options(metrics=('inception_score',), weights_dir=str(tmp_path)))


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
  assert len(scorer.unavailable) == 2
  assert 'inception_v3_google-0cc3c7bd.pth is needed' in scorer.unavailable[0]
  message = 'alexnet-owt-7be5be79.pth is missing: .* do without: --metrics=fid'
  with pytest.raises(errors.UserError, match=message):
    monkeypatch.setattr(features, 'Inception', _Inception)
    monkeypatch.setattr(_Inception, '__init__', lambda *args: None)
    Scorer(Options(weights_dir=str(tmp_path)))


def test_all_files_that_are_missing_are_named(tmp_path, monkeypatch):
  monkeypatch.undo()
  metrics = ('fid', 'lpips', 'classification')
  with pytest.raises(errors.UserError) as error:
    Scorer(Options(weights_dir=str(tmp_path), metrics=metrics))
  parts = str(error.value).split('; ')
  assert [part.partition(' is missing: curl -L -o ')[0] for part in parts] == [
    f'{tmp_path}/inception_v3_google-0cc3c7bd.pth',
    f'{tmp_path}/alexnet-owt-7be5be79.pth',
    f'{tmp_path}/lpips_weights.ckpt',
    'or do without: --metrics=classification',
  ]


@pytest.mark.parametrize(
  'options, message',
  [
    ({'protocol': 'x'}, 'protocol=x is unknown'),
    ({'metrics': ('x',)}, "names 'x': there is fid, lpips, classification"),
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


def test_scores_of_two_pairs_never_have_one_name():
  domains = ('1', '12', '2', '22')
  assert translations.name_pairs(domains, [(0, 2), (2, 0)]) == {
    '122': (0, 2),
    '221': (2, 0),
  }
  with pytest.raises(
    errors.UserError, match='^1222 would be .* 1 to 22 and of'
  ):
    translations.name_pairs(domains, [(0, 3), (1, 2)])
