"""Translations held beside their counterparts: small pictures, by hand."""

import threading
import types
from concurrent import futures

import numpy as np
import pytest

from jaxgan.data import eval_data, preprocess
from jaxgan.metrics import evaluate, paired, translations
from jaxgan.runtime import errors, images, sharding
from jaxgan.systems import contract

SIZE = 16


class _Images:
  """Images of one colour, by name, of which the left half is dark in b."""

  domains = ('a', 'b')

  def __init__(self, *named):
    self._named = named
    self.counts = tuple(map(len, named))

  def digest(self, domain):
    return ''

  def name(self, domain, index):
    return [*self._named[domain]][index]

  def get(self, domain, index):
    colour = self._named[domain][self.name(domain, index)]
    x = np.full((SIZE, SIZE, 3), colour, np.uint8)
    x[:, : SIZE // 2] //= 1 + domain
    return x


COLOURS = {
  'red': (200, 0, 0),
  'green': (0, 200, 0),
  'blue': (0, 0, 200),
  'grey': (90, 90, 90),
}
TRAINING = {'olive': (90, 90, 0), 'teal': (0, 90, 90), 'lime': (60, 240, 60)}


def data(val_a=COLOURS, val_b=COLOURS, train_a=TRAINING, train_b=TRAINING):
  """(train, val), as a system's data give them."""
  both = _Images(train_a, train_b), _Images(val_a, val_b)
  return [eval_data.EvalData(images, False) for images in both]


class _Outputs:
  """Answers each source with pictures of b, by the names in `answers`."""

  def __init__(self, answers):
    self._answers = answers

  def draw(self, num_sources, target, rng):
    assert target == 1
    rows = np.arange(num_sources)[:, None]
    return rows * np.ones((1, len(self._answers[0])), int)

  def translate(self, x, drawn, target):
    assert x.dtype == np.float32 and -1 <= x.min() and x.max() <= 1
    images = _Images({}, COLOURS | TRAINING)
    names = [*(COLOURS | TRAINING)]
    fakes = [
      [images.get(1, names.index(name)) for name in self._answers[row[0]]]
      for row in drawn
    ]
    return np.array(fakes, np.float32) / 127.5 - 1


def score(answers, train_val=None, **options):
  train, val = train_val or data()
  scores = paired.evaluate(
    {'latent': _Outputs(answers)} if answers else {},
    train,
    val,
    translations.Options(**options),
    img_size=SIZE,
    seed=0,
    pairs=[(0, 1)],
  )
  assert all(s.name.startswith('paired/') for s in scores)
  return {
    s.name.removeprefix('paired/').removesuffix('/a2b'): s for s in scores
  }


def test_the_true_counterparts_have_the_best_scores():
  scores = score([['red'], ['green'], ['blue'], ['grey']])
  best = {'retrieval': 1, 'style': 1, 'l1': 0, 'psnr': 100, 'ssim': 1}
  for name, value in best.items():
    assert scores[f'latent/{name}'].value == pytest.approx(value)
  assert scores['latent/retrieval'].protocol == 'paired'
  assert (scores['latent/l1'].n_real, scores['latent/l1'].n_fake) == (4, 4)
  assert not any('best' in name for name in scores)


def test_scores_of_several_outputs_are_means_and_the_best_stands_apart():
  wrong = ['red', 'blue']
  scores = score([wrong, wrong, wrong, ['green', 'green']])
  # Of red the first is right, of blue the second, of green and grey none.
  assert scores['latent/retrieval'].value == 2 / 8
  assert scores['latent/retrieval_best'].value == 2 / 4
  # A colour of b is 200 in one half and 100 in the other, of one channel.
  to_other = 150 * 2 / 3
  by_source = [to_other / 2, to_other, to_other / 2]
  l1 = scores['latent/l1']
  grey = np.abs(np.subtract((0, 200, 0), (90, 90, 90))).mean() * 0.75
  assert l1.value == pytest.approx((sum(by_source) + grey) / 4)
  assert l1.n_fake == 8
  best = scores['latent/l1_best'].value
  assert best == pytest.approx((to_other + grey) / 4)


def test_a_tie_is_a_miss():
  twins = COLOURS | {'crimson': COLOURS['red']}
  scores = score([['red'], ['green'], ['blue'], ['grey']], data(val_b=twins))
  assert scores['latent/retrieval'].value == 3 / 4
  assert scores['latent/l1'].value == 0


def test_style_is_that_of_the_nearest_training_image():
  scores = score([['olive'], ['teal'], ['lime'], ['olive']])
  assert scores['latent/style'].value == 1
  assert scores['latent/retrieval'].value < 1
  # Colours of a fill both halves alike: a training image of a is nearer.
  known = score(None, data(val_a=TRAINING, val_b=TRAINING))
  assert known['source/style'].value == 0
  assert known['mean_picture/style'].value == 1


def test_floors_by_hand():
  train_a = {'olive': (195, 0, 0), 'teal': (0, 195, 0), 'lime': (0, 0, 195)}
  names = {'a': (1, 1, 1), 'b': (2, 2, 2)}
  train_b = dict(
    zip(TRAINING, [(201, 1, 1), (1, 201, 1), (1, 1, 201)], strict=True)
  )
  scores = score(None, data(train_a=train_a | names, train_b=train_b))
  # The nearest of a to red is olive, and olive of b is nearly red.
  nearest = scores['nearest_pair/retrieval']
  assert nearest.value == 3 / 4  # grey has none
  assert scores['chance/retrieval'].value == 1 / 4
  assert scores['mean_picture/retrieval'].value <= 1 / 4
  halves = [(100 + 0) / 3 / 2] * 3 + [45 / 2]
  assert scores['source/l1'].value == pytest.approx(np.mean(halves))
  assert len({name.split('/')[0] for name in scores}) == 4


def test_without_partners_among_training_images_there_is_no_nearest_pair():
  scores = score(None, data(train_b={'other': (9, 9, 9)}))
  assert {n.split('/')[0] for n in scores} == {
    'source',
    'mean_picture',
    'chance',
  }


def test_distances_are_those_of_scikit_image():
  rng = np.random.default_rng(0)
  x = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
  x[:8] = 255
  y = np.clip(x.astype(int) + rng.integers(-20, 21, x.shape), 0, 255)
  l1, psnr, ssim = paired._compare(x[None], y[None].astype(np.uint8))
  # structural_similarity with gaussian_weights, sigma 1.5, data_range 1.
  assert ssim[0] == pytest.approx(0.9871877028097188, abs=1e-6)
  assert psnr[0] == pytest.approx(28.26903670514408, abs=1e-6)
  assert l1[0] == pytest.approx(7.317708333333333)


def test_features_are_colours_and_edges():
  x = np.zeros((2, 20, 20, 3), np.uint8)
  x[0] = (255, 0, 0)
  x[1, :, 10:] = 255
  seen = paired.features(x)
  assert seen.shape == (2, 3 * 16**2 + 2 * 32 * 31)
  luma, blue, red, edges = np.split(seen[0], [256, 512, 768])
  np.testing.assert_allclose(luma, 0.299, rtol=1e-5)
  np.testing.assert_allclose(blue, -0.299 / 1.772, rtol=1e-5)
  np.testing.assert_allclose(red, 0.701 / 1.402, rtol=1e-5)
  np.testing.assert_allclose(edges, 0, atol=1e-6)
  edges = seen[1, 768:]
  assert np.isclose(edges, 1).sum() == 32 and edges.sum() == pytest.approx(32)
  small = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
  # A new pixel of 2 has the shares 2 / 3 and 1 / 3 of two of 3.
  expected = np.array([[4, 8], [16, 20]]) / 3
  averaged = paired._averaged(small, 2)[0]
  np.testing.assert_allclose(averaged, expected, rtol=1e-6)


def test_names_without_a_counterpart_are_left_out_and_counted(caplog):
  val_b = {name: COLOURS[name] for name in ('blue', 'red')} | {'x': (7, 7, 7)}
  scores = score([['red'], ['blue']], data(val_b=val_b))
  assert scores['latent/retrieval'].value == 1
  assert (scores['latent/l1'].n_real, scores['latent/l1'].n_fake) == (3, 2)
  line = "2 of 4 images of 'a' have no image of their name in 'b'"
  assert line in caplog.text
  assert score(None, data(val_b={'x': (7, 7, 7)})) == {}


def test_a_shortened_look_is_marked():
  scores = score([['red'], ['green']], num_sources=2)
  assert scores['latent/l1'].protocol == 'paired (shortened)'
  assert scores['latent/l1'].n_fake == 2 and scores['latent/l1'].n_real == 4


def test_two_processes_get_the_scores_of_one(monkeypatch):
  answers = [['red', 'blue'], ['red', 'red'], ['blue', 'grey'], ['grey'] * 2]
  whole = score(answers)
  here, barrier = threading.local(), threading.Barrier(2, timeout=60)
  parts = [None, None]

  def own_part(count):
    return slice(count * here.index // 2, count * (here.index + 1) // 2)

  def gather(x):
    parts[here.index] = x
    barrier.wait()
    both = np.concatenate(parts)
    barrier.wait()
    return both

  def run(index):
    here.index = index
    return score(answers)

  monkeypatch.setattr(sharding, 'own_part', own_part)
  monkeypatch.setattr(sharding, 'gather', gather)
  with futures.ThreadPoolExecutor(2) as pool:
    for scores in pool.map(run, range(2)):
      assert scores.keys() == whole.keys()
      for name, own in scores.items():
        assert own.value == pytest.approx(whole[name].value)
        counts = own.n_real, own.n_fake
        assert counts == (whole[name].n_real, whole[name].n_fake)


class _Translator:
  def style(self, y, *, x_ref):
    assert (y == 1).all()
    return np.rint((x_ref[:, 0, -1] + 1) * 127.5)

  def translate(self, x, y, s):
    return np.broadcast_to(s[:, None, None], x.shape) / 127.5 - 1


def test_references_are_training_images_of_other_names():
  shared = TRAINING | {'red': (200, 0, 0)}
  train, val = data(train_b=shared)
  outputs = evaluate._TrainingOutputs(_Translator(), train, val, 3)
  drawn = outputs.draw(50, 1, np.random.default_rng(0))
  assert drawn.shape == (50, 3) and {*drawn.flat} == {0, 1, 2}
  assert all(len(set(row)) == 3 for row in drawn.tolist())
  x = np.zeros((2, SIZE, SIZE, 3), np.float32)
  fake = outputs.translate(x, np.array([[0, 1, 2], [2, 0, 1]]), 1)
  colours = np.array([*TRAINING.values()])
  shown = np.rint((fake[:, :, 0, 0] + 1) * 127.5)
  np.testing.assert_array_equal(shown, colours[[[0, 1, 2], [2, 0, 1]]])
  # Three of two do not go without one that comes twice.
  train, _ = data(train_b={k: TRAINING[k] for k in ('olive', 'teal')})
  few = evaluate._TrainingOutputs(_Translator(), train, val, 3)
  assert few.draw(5, 1, np.random.default_rng(0)).max() == 1
  train, _ = data(train_b={'red': (1, 2, 3)})
  assert (
    evaluate._TrainingOutputs(_Translator(), train, val, 3).missing() == 'b'
  )


def test_the_own_style_of_a_source_is_encoded_as_of_the_target():
  translator = _Translator()
  translator.system = contract.load('stargan_v2')
  translator.model = types.SimpleNamespace(latent_dim=4)
  train, val = data()
  ways = evaluate._create_paired_outputs(translator, train, val, 3)
  assert list(ways) == ['latent', 'reference', 'own_style']
  assert list(ways) == [*evaluate.paired_modes(translator.system)]
  assert evaluate.paired_modes(contract.load('unit')) == ('label',)
  colours = np.array([*COLOURS.values()], np.uint8)
  x = np.broadcast_to(colours[:, None, None], (len(colours), SIZE, SIZE, 3))
  x = preprocess.to_float(x)
  own = ways['own_style']
  fake = own.translate(x, own.draw(len(x), 1, np.random.default_rng(0)), 1)
  assert fake.shape == (len(x), 1, SIZE, SIZE, 3)
  np.testing.assert_array_equal(images.to_uint8(fake[:, 0]), images.to_uint8(x))


def test_for_an_unreadable_reference_comes_the_next_of_another_name(
  monkeypatch,
):
  train, val = data(
    train_b={'olive': (90, 90, 0), **COLOURS, 'teal': (0, 9, 9)}
  )
  outputs = evaluate._TrainingOutputs(_Translator(), train, val, 1)
  real = train.images
  monkeypatch.setattr(
    train, 'images', lambda y, numbers: real(y, [n for n in numbers if n])
  )
  x = np.zeros((1, SIZE, SIZE, 3), np.float32)
  fake = outputs.translate(x, np.array([[0]]), 1)
  assert np.rint((fake[0, 0, 0, 0] + 1) * 127.5).tolist() == [0, 9, 9]


def test_two_images_of_one_name_are_named():
  class Twins(_Images):
    def name(self, domain, index):
      return 'red' if domain == 1 and index < 2 else super().name(domain, index)

  val = eval_data.EvalData(Twins(COLOURS, COLOURS), False)
  message = "^two images of 'b' are named 'red': keep one, as names tell which"
  with pytest.raises(errors.UserError, match=message):
    paired.match(val, (0, 1))


def test_outputs_that_are_no_numbers_have_no_scores(monkeypatch):
  monkeypatch.setattr(
    _Outputs,
    'translate',
    lambda self, x, drawn, target: np.full((4, 1, *x.shape[1:]), np.nan),
  )
  with pytest.raises(errors.UserError, match='^outputs are not finite'):
    score([['red']] * 4)


def test_parts_of_the_distances_are_those_of_the_whole(monkeypatch):
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 256, (2, 5, 16, 16, 3)).astype(np.uint8)
  whole = paired._compare(x, y)
  monkeypatch.setattr(paired, '_COMPARED', 2 * 16 * 16)
  np.testing.assert_allclose(paired._compare(x, y), whole, rtol=1e-12)
