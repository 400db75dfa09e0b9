"""The scorer reads factors back from images, and is hard to fool."""

import functools

import numpy as np
import pytest
from scipy import ndimage

from jaxgan.data import shapes
from jaxgan.metrics import shapes as metrics

PER_DOMAIN = 300


@functools.cache
def _draw(img_size):
  """Draws every domain: factors [3 * PER_DOMAIN] and their images."""
  rng = np.random.default_rng(0)
  drawn = [
    shapes.draw_factors(rng, domain, PER_DOMAIN)
    for domain in range(len(shapes.DOMAINS))
  ]
  factors = shapes.Factors(*map(np.concatenate, zip(*drawn, strict=True)))
  return factors, shapes.render(factors, img_size)


def _scores(factors, images, **asked):
  """Scores the images against their own factors, but for those given."""
  asked = {'domain': factors.domain, 'hue': factors.hue} | asked
  return metrics.compute_scores(
    metrics.measure(images),
    content=factors,
    img_size=images.shape[1],
    **asked,
  )


@functools.cache
def _draw_attributes(img_size):
  """Draws the attribute world: factors [300] and their images."""
  factors = shapes.draw_attributes(np.random.default_rng(0), 300)
  return factors, shapes.render(factors, img_size)


def _blur(images, sigma):
  return _to_uint8(
    ndimage.gaussian_filter(images.astype(np.float32), (0, sigma, sigma, 0))
  )


def _assert_attributes_measured(images, factors):
  """Returns what was measured."""
  measured = metrics.measure(images, outlines=True)
  np.testing.assert_array_equal(measured.domain, factors.domain)
  np.testing.assert_array_equal(
    shapes.attributes_of(measured), shapes.attributes_of(factors)
  )
  return measured


def _to_uint8(images):
  return np.clip(np.round(images), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('img_size', [32, 64])
def test_real_images_measure_exactly(img_size):
  factors, images = _draw(img_size)
  measured = metrics.measure(images)
  np.testing.assert_array_equal(measured.domain, factors.domain)
  # The worst of all, clipped triangles included.
  np.testing.assert_allclose(
    img_size * measured.centre, img_size * factors.centre, atol=0.01
  )
  np.testing.assert_allclose(measured.radius, factors.radius, rtol=0.002)
  turns = abs(measured.hue - factors.hue)
  assert np.minimum(turns, 1 - turns).max() < 0.003
  scores = _scores(factors, images)
  assert scores['domain_accuracy'] == 1
  assert scores['position_error_px'] < 0.002
  assert scores['size_error'] < 0.0005
  assert scores['colour_error'] < 0.0005


def test_each_image_is_measured_by_itself():
  _, images = _draw(32)
  picked = np.arange(0, len(images), 97)
  whole, part = metrics.measure(images), metrics.measure(images[picked])
  for values, expected in zip(part, whole, strict=True):
    np.testing.assert_allclose(values, expected[picked], atol=1e-5)


@pytest.mark.parametrize(
  'sigma, accuracy, position', [(5, 1, 0.02), (10, 1, 0.03), (20, 0.99, 0.05)]
)
def test_noise(sigma, accuracy, position):
  factors, images = _draw(32)
  noise = np.random.default_rng(1).normal(0, sigma, images.shape)
  scores = _scores(factors, _to_uint8(images + noise))
  assert scores['domain_accuracy'] >= accuracy
  assert scores['position_error_px'] < position
  assert scores['size_error'] < 0.02
  assert scores['colour_error'] < 0.003


@pytest.mark.parametrize('sigma, accuracy', [(0.5, 1), (1, 0.99), (1.5, 0.95)])
def test_blur(sigma, accuracy):
  factors, images = _draw(32)
  blurred = ndimage.gaussian_filter(
    images.astype(np.float32), (0, sigma, sigma, 0)
  )
  scores = _scores(factors, _to_uint8(blurred))
  assert scores['domain_accuracy'] >= accuracy
  assert scores['position_error_px'] < 0.01
  assert scores['size_error'] < 0.02
  assert scores['colour_error'] < 0.001


@pytest.mark.parametrize('contrast', [0.7, 0.85])
def test_paler_shapes(contrast):
  factors, images = _draw(32)
  scores = _scores(factors, _to_uint8(31 + contrast * (images - 31.0)))
  assert scores['domain_accuracy'] > 0.99
  assert scores['position_error_px'] < 0.03
  assert scores['size_error'] < 0.08
  assert scores['colour_error'] < 0.001


def test_swapped_domains_are_all_wrong():
  factors, images = _draw(32)
  scores = _scores(factors, images, domain=(factors.domain + 1) % 3)
  assert scores['domain_accuracy'] == 0


def test_accuracy_counts_undetected_as_wrong():
  factors, images = _draw(32)
  images = images.copy()
  images[np.arange(len(images)) % 4 > 0] = 0
  scores = _scores(factors, images)
  assert scores['domain_accuracy'] == 0.25
  assert scores['position_error_px'] < 0.002  # over the detected alone


def test_shifted_content_is_the_position_error():
  factors, _ = _draw(32)
  shifted = factors._replace(centre=factors.centre + np.array([3, -4]) / 64)
  scores = _scores(factors, shapes.render(shifted, 32))
  np.testing.assert_allclose(scores['position_error_px'], 2.5, atol=0.003)
  assert scores['size_error'] < 0.0005


@pytest.mark.parametrize('scale', [0.9, 1.15])
def test_scaled_content_is_the_size_error(scale):
  factors, _ = _draw(32)
  scaled = factors._replace(radius=factors.radius * scale)
  scores = _scores(factors, shapes.render(scaled, 32))
  np.testing.assert_allclose(scores['size_error'], abs(scale - 1), atol=0.001)
  assert scores['position_error_px'] < 0.003


@pytest.mark.parametrize(
  'turn, error', [(0.1, 0.1), (0.5, 0.5), (0.7, 0.3), (-0.2, 0.2)]
)
def test_turned_hue_is_the_colour_error(turn, error):
  factors, images = _draw(32)
  scores = _scores(factors, images, hue=(factors.hue + turn) % 1)
  np.testing.assert_allclose(scores['colour_error'], error, atol=0.001)


def test_colour_error_only_where_a_hue_was_asked_for():
  factors, images = _draw(32)
  assert set(_scores(factors, images, hue=None)) == {
    'domain_accuracy',
    'position_error_px',
    'size_error',
  }


@functools.cache
def _garbage():
  rng = np.random.default_rng(2)
  shape = (20, 32, 32, 3)
  striped = np.full(shape, 31, np.uint8)
  striped[:, :, ::4] = 242
  dotted = np.full(shape, 31, np.uint8)
  dotted[:, 10:13, 10:13] = 242
  half = np.full(shape, 31, np.uint8)
  half[:, :, :13] = 242
  return {
    'black': np.zeros(shape, np.uint8),
    'ground': np.full(shape, 31, np.uint8),
    'white': np.full(shape, 255, np.uint8),
    'noise': rng.integers(0, 256, shape, dtype=np.uint8),
    'faint noise': rng.integers(0, 160, shape, dtype=np.uint8),
    'stripes': striped,
    'dot': dotted,
    'half plane': half,
  }


@pytest.mark.parametrize('name', _garbage())
def test_garbage_is_undetected(name):
  images = _garbage()[name]
  measured = metrics.measure(images)
  assert (measured.domain == -1).all()
  assert (measured.centre == 0).all()
  assert (measured.radius == 0).all()
  assert (measured.hue == -1).all()
  content = shapes.draw_factors(np.random.default_rng(0), 0, len(images))
  assert metrics.compute_scores(
    measured,
    domain=content.domain,
    content=content,
    hue=content.hue,
    img_size=32,
  ) == {
    'domain_accuracy': 0.0,
    'position_error_px': None,
    'size_error': None,
    'colour_error': None,
  }


@pytest.mark.parametrize(
  'radius, detected', [(0.07, False), (0.1, True), (0.35, True), (0.38, False)]
)
def test_shapes_far_too_small_or_large_are_undetected(radius, detected):
  factors = shapes.Factors(
    domain=np.array([0, 1]),
    centre=np.full((2, 2), 0.5),
    radius=np.full(2, radius),
    hue=np.full(2, 0.3),
    outline=np.zeros(2, bool),
  )
  measured = metrics.measure(shapes.render(factors, 64))
  expected = [0, 1] if detected else [-1, -1]
  assert measured.domain.tolist() == expected


def test_grey_shape_has_a_hue_all_the_same():
  factors, images = _draw(32)
  grey = np.repeat(images.max(axis=-1, keepdims=True), 3, axis=-1)
  measured = metrics.measure(grey)
  np.testing.assert_array_equal(measured.domain, factors.domain)
  assert (measured.hue == 0).all()


def test_only_bytes_are_measured():
  with pytest.raises(ValueError, match='uint8, got float32'):
    metrics.measure(np.zeros((1, 32, 32, 3), np.float32))


@pytest.mark.parametrize(
  'hue, diversity',
  [
    ([[0.25, 0.75]], 1),  # opposite
    ([[0.3, 0.3, 0.3]], 0),  # equal
    ([[0.0, 0.25]], 1),  # R^2 = (2 - 2) / 2
    ([[0.0, 0.125]], 1 - 2**-0.25),  # R^2 = cos(pi / 4)
    ([[0.9375, 0.0625]], 1 - 2**-0.25),  # the same across the seam
    ([[0.1, 0.1, 0.1], [0.0, 1 / 3, 2 / 3]], 0.5),  # R^2 = 1 and -1 / 2
    ([[0.25, -1, 0.75, -1]], 1),  # the undetected are left out
    ([[0.3, 0.3, -1]], 0),
    ([[0.3, -1, -1], [0.4, 0.4, -1]], 0),  # one alone has no spread
    ([[-1, -1, -1]], 0),
  ],
)
def test_hue_diversity(hue, diversity):
  found = metrics.hue_diversity(np.array(hue))
  assert isinstance(found, float)
  np.testing.assert_allclose(found, diversity, atol=1e-12)


def test_hue_diversity_of_uniform_hues_does_not_depend_on_the_number():
  rng = np.random.default_rng(0)
  for count in (2, 10, 100):
    found = metrics.hue_diversity(rng.random((2000, count)))
    assert found > 0.93, count  # 1 - |mean| alone gives 0.36, 0.72 and 0.91


@pytest.mark.parametrize('img_size', [32, 64])
def test_attributes_measure_exactly(img_size):
  factors, images = _draw_attributes(img_size)
  measured = _assert_attributes_measured(images, factors)
  assert measured.outline.dtype == bool
  # The worst of all, clipped triangles included.
  np.testing.assert_allclose(
    img_size * measured.centre, img_size * factors.centre, atol=0.01
  )
  np.testing.assert_allclose(measured.radius, factors.radius, rtol=0.002)
  turns = abs(measured.hue - factors.hue)
  assert np.minimum(turns, 1 - turns).max() < 0.003


@pytest.mark.parametrize('img_size', [32, 64])
def test_rings_of_all_sizes_measure_exactly(img_size):
  factors, _ = _draw(img_size)
  rings = factors._replace(outline=np.ones(len(factors.domain), bool))
  measured = metrics.measure(shapes.render(rings, img_size), outlines=True)
  np.testing.assert_array_equal(measured.domain, rings.domain)
  assert measured.outline.all()
  np.testing.assert_allclose(
    img_size * measured.centre, img_size * rings.centre, atol=0.01
  )
  np.testing.assert_allclose(measured.radius, rings.radius, rtol=0.002)


def test_filled_shapes_measure_the_same_among_rings():
  _, images = _draw(32)
  alone, among = metrics.measure(images), metrics.measure(images, outlines=True)
  for values, expected in zip(among, alone, strict=True):
    np.testing.assert_array_equal(values, expected)
  assert not among.outline.any()


def test_rings_are_undetected_where_none_is_looked_for():
  factors, images = _draw_attributes(32)
  measured = metrics.measure(images)
  expected = np.where(factors.outline, -1, factors.domain)
  np.testing.assert_array_equal(measured.domain, expected)
  assert not measured.outline.any()


@pytest.mark.parametrize('sigma', [5, 10, 20])
def test_attributes_through_noise(sigma):
  factors, images = _draw_attributes(32)
  noise = np.random.default_rng(1).normal(0, sigma, images.shape)
  measured = _assert_attributes_measured(_to_uint8(images + noise), factors)
  shift = np.linalg.norm(measured.centre - factors.centre, axis=-1)
  assert 32 * shift.max() < 0.2


def test_attributes_through_blur():
  factors, images = _draw_attributes(32)
  measured = _assert_attributes_measured(_blur(images, 0.75), factors)
  shift = np.linalg.norm(measured.centre - factors.centre, axis=-1)
  assert 32 * shift.max() < 0.1


def test_attributes_of_paler_shapes():
  factors, images = _draw_attributes(32)
  paler = _to_uint8(31 + 0.7 * (images - 31.0))
  _assert_attributes_measured(paler, factors)


def test_rings_blurred_beyond_recognition_are_undetected():
  factors, images = _draw_attributes(32)
  measured = metrics.measure(_blur(images, 2)[factors.outline], outlines=True)
  assert (measured.domain == -1).all()
  assert not measured.outline.any()


@pytest.mark.parametrize('name', _garbage())
def test_garbage_is_no_ring(name):
  images = _garbage()[name]
  measured = metrics.measure(images, outlines=True)
  assert (measured.domain == -1).all()
  assert (measured.hue == -1).all()
  assert not measured.outline.any()
  content = shapes.draw_attributes(np.random.default_rng(0), len(images))
  for source in (content, measured):  # nothing is not like nothing
    assert metrics.compute_attribute_scores(
      measured,
      target=np.zeros(len(images), int),
      attributes=shapes.attributes_of(measured),
      content=source,
      img_size=32,
    ) == {
      'target_accuracy': 0.0,
      'kept_accuracy': 0.0,
      'shape_accuracy': 0.0,
      'position_error_px': None,
    }


def test_attribute_scores_by_hand():
  # Of warm small filled circles: as asked, shifted by 3 and 4 pixels; nothing
  # changed; another attribute changed; both; all; and nothing to be seen.
  measured = metrics.Measured(
    domain=np.array([0, 0, 0, 0, 2, -1]),
    centre=np.array([[0.5, 0.5]] * 5 + [[0, 0]])
    + np.array([[3, 4], [0, 1], [2, 0], [0, 0], [0, 9], [0, 0]]) / 32,
    radius=np.array([0.24, 0.18, 0.18, 0.24, 0.24, 0]),
    hue=np.array([0.1, 0.9, 0.5, 0.5, 0.4, -1]),
    outline=np.array([False, False, False, False, True, False]),
  )
  content = shapes.Factors(
    domain=np.zeros(6, int),
    centre=np.full((6, 2), 0.5),
    radius=np.full(6, 0.18),
    hue=np.zeros(6),
    outline=np.zeros(6, bool),
  )
  scores = metrics.compute_attribute_scores(
    measured,
    target=np.full(6, 1),  # large
    attributes=np.tile(np.float32([1, 1, 0]), (6, 1)),
    content=content,
    img_size=32,
  )
  assert scores == {
    'target_accuracy': 3 / 6,
    'kept_accuracy': 2 / 6,
    'shape_accuracy': 4 / 6,
    'position_error_px': 2.0,  # the middle of 0, 1, 2, 5 and 9
  }
  assert all(isinstance(score, float) for score in scores.values())


def test_attribute_scores_of_each_target():
  # Every image with each of its attributes changed in turn.
  factors, _ = _draw_attributes(32)
  target = np.arange(300) % 3
  changed = factors._replace(
    hue=np.where(target == 0, (factors.hue + 0.5) % 1, factors.hue),
    radius=np.where(target == 1, 0.42 - factors.radius, factors.radius),
    outline=(target == 2) ^ factors.outline,
  )
  asked = shapes.attributes_of(factors)
  asked[np.arange(300), target] = 1 - asked[np.arange(300), target]

  def score(shown, target):
    return metrics.compute_attribute_scores(
      metrics.measure(shapes.render(shown, 32), outlines=True),
      target=target,
      attributes=asked,
      content=factors,
      img_size=32,
    )

  perfect, idle, wrong = (
    score(changed, target),
    score(factors, target),
    score(factors, (target + 1) % 3),  # what should have changed, did not
  )
  assert [*perfect.values()][:3] == [1, 1, 1]
  assert perfect['position_error_px'] < 0.002
  assert [*idle.values()][:3] == [0, 1, 1]
  assert [*wrong.values()][:3] == [1, 0, 1]
