"""Scores of StarGAN, with stand-ins to see through."""

import functools
import types

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.data import labelled, labels, preprocess, shapes
from jaxgan.metrics import classification, factors, features, translations
from jaxgan.metrics import shapes as shapes_metrics
from jaxgan.runtime import errors
from jaxgan.runtime.images import to_uint8
from jaxgan.systems import stargan
from jaxgan.systems.stargan import step
from tests import tiny_stargan as tiny


class _Idle:
  """In the place of a `Translator`: leaves every image as it is."""

  system = types.SimpleNamespace(KINDS=stargan.KINDS)

  def __init__(self, model):
    self.model, self.labels = model, model.labels

  def translate(self, x, y, s=None):
    assert s is None
    known = self.estimate(x) if self.labels.ask else 0 * self.labels.codes[y]
    return self.apply(step.translate_known, y, x, known)

  def apply(self, fn, y, x, *c):
    if fn is step.estimate:
      return self.estimate(x)
    if fn is step.translate_known:
      (own,) = map(jnp.asarray, c)
      c = (np.asarray(labels.resolve(self.labels.codes[y], own)),)
    else:
      assert fn is step.generate
    return self.generate(x, *c)

  def generate(self, x, c):
    return x

  def estimate(self, x):
    raise AssertionError('the labels are known')


class _Perfect(_Idle):
  """Draws what is asked for, over what an image shows."""

  def generate(self, x, c):
    assert set(np.unique(c)) <= {0, 1}
    shown = _measure(x)
    if self.labels.sets[0].exclusive:
      changed = shown._replace(domain=c[:, : len(shapes.DOMAINS)].argmax(1))
    else:
      turned = c[:, : len(shapes.ATTRIBUTES)] != shapes.attributes_of(shown)
      warm, large, outline = turned.T
      changed = shown._replace(
        hue=(shown.hue + 0.5 * warm) % 1,
        radius=np.where(large, 0.42 - shown.radius, shown.radius),
        outline=shown.outline ^ outline,
      )
    drawn = shapes.Factors(*changed)
    return preprocess.to_float(shapes.render(drawn, x.shape[1]))

  def estimate(self, x):
    return shapes.attributes_of(_measure(x))


def _measure(x):
  return shapes_metrics.measure(to_uint8(x), outlines=True)


@pytest.fixture
def run(monkeypatch, tmp_path):
  """Evaluates the tiny system with a stand-in: {name: score}."""
  monkeypatch.setattr(factors, 'MIN_PAIRS', 90)

  def run(translator, kind, metrics=(), options=None, **overrides):
    overrides = getattr(tiny, kind) | {'data__img_size': 32} | overrides
    config = tiny.config(**overrides)
    # Of the model only the labels are asked for.
    made = translator(stargan.create_model(config))
    options = {'cache_dir': str(tmp_path / 'cache')} | (options or {})
    scorer = translations.Scorer(
      translations.Options(metrics=metrics, **options)
    )
    scores = stargan.scores(
      made,
      config,
      scorer,
      stargan.create_data(config),
      seed=0,
      save_dir=epath.Path(tmp_path) / 'out',
    )
    assert len({score.name for score in scores}) == len(scores)
    return {score.name: score for score in scores}

  return run


def _values(scores, prefix):
  return {
    name.removeprefix(prefix): score.value
    for name, score in scores.items()
    if name.startswith(prefix)
  }


def test_scores_of_drawn_domains(run):
  scores = run(_Perfect, 'DOMAINS')
  values = _values(scores, 'shapes/label/')
  assert values['domain_accuracy'] == 1
  assert values['position_error_px'] < 0.2 and values['colour_error'] < 0.01
  # One output for a source and a target: there is no diversity.
  np.testing.assert_allclose(values['diversity'], 0, atol=1e-6)
  assert _values(scores, 'shapes/real/')['domain_accuracy'] == 1
  assert {s.n_fake for n, s in scores.items() if '/label/' in n} == {90}

  values = _values(run(_Idle, 'DOMAINS'), 'shapes/label/')
  assert values['domain_accuracy'] == 0 and values['position_error_px'] < 0.2


def test_scores_of_drawn_attributes(run):
  names = [f'accuracy_{name}' for name in shapes.ATTRIBUTES]
  scores = run(_Perfect, 'ATTRIBUTES')
  values = _values(scores, 'shapes/label/')
  assert values.pop('position_error_px') < 0.2
  assert values == dict.fromkeys(
    ['target_accuracy', 'kept_accuracy', 'shape_accuracy', *names], 1.0
  )
  assert scores['shapes/label/target_accuracy'].n_fake == 90
  assert scores['shapes/label/accuracy_warm'].n_fake == 30

  values = _values(run(_Idle, 'ATTRIBUTES'), 'shapes/label/')
  assert values['target_accuracy'] == 0
  assert values['kept_accuracy'] == values['shape_accuracy'] == 1
  assert [values[name] for name in names] == [0, 0, 0]


class _OneAttribute(_Perfect):
  """Knows what large is, and nothing else."""

  def generate(self, x, c):
    c = np.array(c)
    shown = shapes.attributes_of(_measure(x))
    c[:, 0], c[:, 2] = shown[:, 0], shown[:, 2]
    return super().generate(x, c)


def test_accuracy_is_told_for_each_attribute(run):
  values = _values(run(_OneAttribute, 'ATTRIBUTES'), 'shapes/label/')
  for name, value in zip(shapes.ATTRIBUTES, (0, 1, 0), strict=True):
    assert values[f'accuracy_{name}'] == value
  np.testing.assert_allclose(values['target_accuracy'], 1 / 3)


@pytest.fixture
def classifier(monkeypatch):
  """One that measures; what it was to be trained on is noted in `asked`.

  It is to be trained on what the images show, or with `opposite`, for a list
  that says so, on the attributes that they do not. With `errs` it sees what
  is not there.
  """
  made = types.SimpleNamespace(asked=[], opposite=False, errs=False)

  def see(x, exclusive):
    shown = shapes_metrics.measure(x, outlines=True)
    if exclusive:
      return np.eye(len(shapes.DOMAINS), dtype=np.float32)[shown.domain]
    return shapes.attributes_of(shown)

  def load_or_train(draw, num_labels, *, exclusive, content, **_):
    x, c = draw(0)
    assert x.shape == (classification.BATCH, 32, 32, 3) and x.dtype == np.uint8
    shown = see(x, exclusive)
    np.testing.assert_array_equal(c, 1 - shown if made.opposite else shown)
    assert not np.array_equal(draw(1)[0], x)
    assert num_labels == 3
    made.asked.append((exclusive, content))
    return exclusive

  def predict(exclusive, x):
    x = x if x.dtype == np.uint8 else to_uint8(x)
    logits = 2 * see(x, exclusive) - 1
    return -logits if made.errs else logits

  monkeypatch.setattr(classification, 'load_or_train', load_or_train)
  monkeypatch.setattr(classification, 'predict', predict)
  return made


@pytest.mark.parametrize('translator, error', [(_Perfect, 0), (_Idle, 1)])
@pytest.mark.parametrize('kind', ['ATTRIBUTES', 'JOINT'])
def test_a_classifier_judges_attributes(
  run, classifier, kind, translator, error
):
  if kind == 'JOINT':
    translator = functools.partial(_known, translator)
  scores = run(
    translator,
    kind,
    metrics=('classification',),
    options={'num_sources': 40},
  )
  names = (*shapes.ATTRIBUTES, 'mean')
  for metric, value in (('error', error), ('floor', 0)):
    got = _values(scores, f'classification_{metric}/label/')
    assert got == dict.fromkeys(names, value)
  score = scores['classification_error/label/warm']
  assert (score.n_fake, score.weights) == (40, classification.LABEL)
  assert (score.protocol, score.n_real) == (
    'stargan_v2 (shortened)',
    None,
  )
  is_joint = kind == 'JOINT'
  trained = [exclusive for exclusive, _ in classifier.asked]
  assert trained == [False, True][: 1 + is_joint]
  # Of the domains another one judges, and no stand-in draws them.
  for metric, value in (('error', 1), ('floor', 0)):
    got = _values(scores, f'classification_{metric}/joint_label/')
    assert set(got.values()) == ({value} if is_joint else set())


@pytest.mark.parametrize('translator, error', [(_Perfect, 1), (_Idle, 0)])
def test_the_floor_tells_of_a_classifier_that_errs(
  run, classifier, translator, error
):
  classifier.errs = True
  scores = run(
    translator,
    'ATTRIBUTES',
    metrics=('classification',),
    options={'num_sources': 40},
  )
  for metric, value in (('error', error), ('floor', 1)):
    got = _values(scores, f'classification_{metric}/label/')
    assert got == dict.fromkeys((*shapes.ATTRIBUTES, 'mean'), value)


def _known(translator, model):
  """The classifier's labels are overwritten by those of the data."""
  made, width = translator(model), len(model.labels.names)
  made.estimate = lambda x: np.full((len(x), width), 9, np.float32)
  return made


def test_another_list_of_attributes_is_another_classifier(
  run, classifier, monkeypatch
):
  go = functools.partial(
    run,
    _Idle,
    'ATTRIBUTES',
    metrics=('classification',),
    options={'num_sources': 1},
  )
  go()
  go()
  real = labelled.DrawnAttributes.label
  monkeypatch.setattr(
    labelled.DrawnAttributes, 'label', lambda *args: 1 - real(*args)
  )
  classifier.opposite = True
  go()
  first, again, other = classifier.asked
  assert first == again != other


@pytest.mark.slow
def test_a_classifier_is_trained_and_kept(run, monkeypatch, tmp_path):
  short = functools.partial(classification.load_or_train, steps=2)
  monkeypatch.setattr(classification, 'load_or_train', short)
  go = functools.partial(
    run,
    _Idle,
    'ATTRIBUTES',
    metrics=('classification',),
    options={'num_sources': 40},
  )
  scores = go()
  assert 0 <= scores['classification_error/label/mean'].value <= 1
  (kept,) = (tmp_path / 'cache').iterdir()
  time = kept.stat().st_mtime_ns
  assert go() == scores and kept.stat().st_mtime_ns == time


def _make_celeba(root, count):
  """Images of one grey each, the first of them bright, and a list."""
  (root / 'images').mkdir()
  lines = [str(count), 'Bright Black_Hair']
  for i in range(count):
    pixels = np.full((32, 32, 3), 200 if i < count // 2 else 40, np.uint8)
    Image.fromarray(pixels).save(root / 'images' / f'{i}.png')
    lines.append(f'{i}.png {1 if i < count // 2 else -1} {1 if i % 2 else -1}')
  (root / 'list_attr_celeba.txt').write_text('\n'.join(lines))
  return {
    'data__name': 'celeba',
    'data__root': str(root),
    'data__domains': ('Bright', 'Black_Hair'),
    'data__num_test': count // 2,
    'model__num_domains': 2,
  }


@pytest.fixture
def yes(run, monkeypatch, tmp_path):
  """Evaluates CelebA by a classifier that sees every attribute."""
  celeba = _make_celeba(tmp_path, 8)
  monkeypatch.setattr(
    classification, 'load_or_train', lambda draw, *_, **__: draw(0) and {}
  )
  monkeypatch.setattr(
    classification, 'predict', lambda params, x: np.ones((len(x), 2))
  )
  return functools.partial(
    run,
    _Idle,
    'ATTRIBUTES',
    metrics=('classification',),
    **celeba,
  )


def _numbers(root, split):
  config = tiny.config(data__name='celeba', data__root=str(root))
  config.data.num_test = 4
  images = labelled.open_set(config, split, 0).images
  return [int(name[0]) for name in images._images._source._files]


def test_hair_is_to_become_a_colour_and_others_are_turned_over(yes, tmp_path):
  values = _values(yes(), 'classification_error/label/')
  bright = np.mean([number < 4 for number in _numbers(tmp_path, 'val')])
  assert 0 < bright < 1
  assert (values['Bright'], values['Black_Hair']) == (bright, 0)
  assert values['mean'] == bright / 2


def test_unreadable_images_of_celeba_are_named_or_left_out(yes, tmp_path):
  def damage(*numbers):
    for number in numbers:
      (tmp_path / 'images' / f'{number}.png').write_bytes(b'')

  numbers = _numbers(tmp_path, 'val')
  damage(numbers[0], _numbers(tmp_path, 'train')[0])
  with pytest.raises(errors.UserError, match='png cannot be read'):
    yes()
  scores = yes(data__skip_bad_images=True)
  floor = scores['classification_floor/label/Bright']
  labels = [number < 4 for number in numbers[1:]]
  assert floor.n_fake == 3
  np.testing.assert_allclose(floor.value, 1 - np.mean(labels))

  damage(*numbers)
  with pytest.raises(errors.UserError, match='no validation image can be read'):
    yes(data__skip_bad_images=True)


def test_attributes_without_a_classifier_cannot_be_scored(run, tmp_path):
  celeba = _make_celeba(tmp_path, 8)
  with pytest.raises(errors.UsageError, match='measured: .*=classification'):
    run(_Idle, 'ATTRIBUTES', **celeba)


@pytest.fixture
def folder(tmp_path):
  """Drawn shapes in files: four of each for training, three to translate."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 4), ('val', 3)):
    for i, domain in enumerate(shapes.DOMAINS):
      directory = tmp_path / split / domain
      directory.mkdir(parents=True)
      for k, pixels in enumerate(shapes.draw_images(rng, i, count, 32)):
        Image.fromarray(pixels).save(directory / f'{k}.png')
  return {'data__name': 'folder', 'data__root': str(tmp_path)}


class _Inception:
  """Mean colours."""

  label = 'made'

  def __init__(self, protocol, weights_dir):
    pass

  def compute(self, pictures, img_size):
    return np.stack([np.asarray(p, np.float32).mean((0, 1)) for p in pictures])

  def compute_cached(self, pictures, img_size, **kwargs):
    return self.compute(pictures, img_size)


def test_scores_of_a_folder(run, folder, monkeypatch, tmp_path):
  monkeypatch.setattr(features, 'Inception', _Inception)
  scores = run(
    _Perfect,
    'DOMAINS',
    metrics=('fid',),
    options={'weights_dir': 'w', 'save_images': True},
    data__paired_names=True,
    **folder,
  )
  known = {n: scores.pop(n) for n in [*scores] if n.startswith('paired/')}
  l1 = known['paired/label/l1/circle2square']
  assert 0 < l1.value < 255 and (l1.n_real, l1.n_fake) == (3, 3)
  assert len(scores) == 6 + 1
  score = scores['fid/label/circle2square']
  assert (score.n_real, score.n_fake) == (4, 3)  # one output of a source
  assert np.isfinite(score.value) and score.value > 0
  files = sorted((tmp_path / 'out' / 'label' / 'circle2square').iterdir())
  assert [path.name for path in files] == [f'000{i}_01.png' for i in (1, 2, 3)]
  pixels = np.stack([np.asarray(Image.open(path)) for path in files])
  assert shapes_metrics.measure(pixels).domain.tolist() == [1, 1, 1]


def test_domains_without_weights_cannot_be_scored(run, folder, monkeypatch):
  monkeypatch.delenv('JAXGAN_WEIGHTS', raising=False)
  monkeypatch.setattr(_Idle, 'generate', None)  # said before the work
  with pytest.raises(
    errors.UsageError, match='measured .fid: .* is needed.*=classification'
  ):
    run(_Idle, 'DOMAINS', metrics=('fid',), **folder)


def test_two_data_sets_have_scores_of_their_own(run):
  scores = run(functools.partial(_known, _Perfect), 'JOINT')
  assert scores['shapes/label/target_accuracy'].value == 1
  # The stand-in knows the first set alone.
  assert scores['shapes/joint_label/domain_accuracy'].value < 0.5
  some = run(
    functools.partial(_known, _Perfect),
    'JOINT',
    options={'domains': ('warm',)},
  )
  assert some.keys() == scores.keys()  # the factors are cheap
  with pytest.raises(errors.UsageError, match='circle alone of its data set'):
    run(_Idle, 'JOINT', options={'domains': ('warm', 'circle')})


def test_images_of_attributes_cannot_be_saved(run):
  with pytest.raises(errors.UsageError, match='--save_images is of domains'):
    run(
      _Perfect,
      'ATTRIBUTES',
      options={'save_images': True},
    )
