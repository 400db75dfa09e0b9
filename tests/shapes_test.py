"""The drawn data set shows what its factors say."""

import math

import numpy as np
import pytest

from jaxgan.data import shapes

ALL_DOMAINS = range(len(shapes.DOMAINS))


class Constant:
  """Stands in for a generator, and has no other way to draw."""

  def __init__(self, value):
    self.value = value

  def random(self, size):
    return np.full(size, self.value)


def _coverage_of_one(domain, centre, radius, img_size, outline=False):
  centre, radius = np.array([centre]), np.array([radius])
  return shapes.coverage(domain, centre, radius, img_size, outline)[0]


def _fill_of(hue):
  """The middle pixel of a circle of that hue."""
  factors = shapes.Factors(
    domain=np.array([0]),
    centre=np.array([[0.5, 0.5]]),
    radius=np.array([0.2]),
    hue=np.array([hue]),
    outline=np.array([False]),
  )
  return shapes.render(factors, 32)[0, 16, 16].tolist()


@pytest.mark.parametrize('domain', ALL_DOMAINS)
@pytest.mark.parametrize('radius', [0.16, 0.2, 0.26])
def test_area_is_that_of_the_circle(domain, radius):
  cover = _coverage_of_one(domain, (0.51, 0.5), radius, 32)
  np.testing.assert_allclose(cover.mean(), math.pi * radius**2, rtol=0.02)


@pytest.mark.parametrize('domain', ALL_DOMAINS)
def test_centroid_is_the_centre(domain):
  cover = _coverage_of_one(domain, (0.42, 0.57), 0.2, 64)
  y, x = np.indices(cover.shape) + 0.5
  centroid = np.array([(cover * x).sum(), (cover * y).sum()]) / cover.sum()
  np.testing.assert_allclose(centroid, [64 * 0.42, 64 * 0.57], atol=0.05)


@pytest.mark.parametrize(
  'domain, left, top, right, bottom',
  [
    ('circle', -1, -1, 1, 1),
    ('square', -0.886, -0.886, 0.886, 0.886),  # sqrt(pi) / 2
    ('triangle', -1.347, -1.555, 1.347, 0.778),  # the side is 2.694
  ],
)
def test_outline(domain, left, top, right, bottom):
  img_size, radius = 512, 0.2
  domain = shapes.DOMAINS.index(domain)
  inside = _coverage_of_one(domain, (0.5, 0.5), radius, img_size) > 0.5
  rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
  found = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
  expected = img_size * (0.5 + radius * np.array([left, top, right, bottom]))
  np.testing.assert_allclose(found, expected, atol=1.5)  # pixels


def test_triangle_stands_on_its_base():
  inside = _coverage_of_one(2, (0.5, 0.5), 0.2, 64) > 0.5
  widths = inside.sum(axis=1)[inside.any(axis=1)]
  assert (np.diff(widths) >= 0).all()
  assert widths[0] <= 2
  assert widths[-1] in (33, 34, 35)


def test_edge_pixels_hold_their_share():
  radius = 5.25 / 16 / (math.sqrt(math.pi) / 2)  # half the side is 5.25 pixels
  row = _coverage_of_one(1, (0.5, 0.5), radius, 16)[8]
  expected = [0, 0, 0.25, *[1] * 10, 0.25, 0, 0]
  np.testing.assert_allclose(row, expected, atol=1e-5)


def test_coverage_is_a_share():
  rng = np.random.default_rng(0)
  for domain in ALL_DOMAINS:
    factors = shapes.draw_factors(rng, domain, 50)
    cover = shapes.coverage(domain, factors.centre, factors.radius, 32)
    assert cover.shape == (50, 32, 32)
    assert cover.dtype == np.float32
    assert cover.min() == 0
    assert cover.max() == 1


@pytest.mark.parametrize('domain', [-1, 3])
def test_unknown_domain_is_named(domain):
  with pytest.raises(ValueError, match=f'got {domain}'):
    _coverage_of_one(domain, (0.5, 0.5), 0.2, 32)


@pytest.mark.parametrize(
  'hue, rgb',
  [
    (0, [242, 24, 24]),  # 0.95 * 255 and a tenth of it
    (1 / 12, [242, 133, 24]),
    (1 / 6, [242, 242, 24]),
    (1 / 3, [24, 242, 24]),
    (1 / 2, [24, 242, 242]),
    (2 / 3, [24, 24, 242]),
    (11 / 12, [242, 24, 133]),
  ],
)
def test_fill_by_hue(hue, rgb):
  assert _fill_of(hue) == rgb


def test_ground_is_even_and_dark():
  images = shapes.draw_images(np.random.default_rng(0), 0, 20, 32)
  assert images.dtype == np.uint8
  assert images.shape == (20, 32, 32, 3)
  # 0.12 * 255 = 30.6, rounded and not cut off; no circle reaches a border.
  assert (images[:, 0] == 31).all()
  assert (images[:, :, -1] == 31).all()


def test_factors_fill_their_ranges():
  factors = shapes.draw_factors(np.random.default_rng(0), 1, 20_000)
  drawn = [*factors.centre.T, factors.radius, factors.hue]
  bounds = [(0.3, 0.7), (0.3, 0.7), (0.16, 0.26), (0, 1)]
  for values, (low, high) in zip(drawn, bounds, strict=True):
    assert low <= values.min() < low + 0.001 * (high - low)
    assert high - 0.001 * (high - low) < values.max() < high
    # The mean of a uniform draw: 4 standard errors are 0.0082 of the range.
    assert abs(values.mean() - (low + high) / 2) < 0.0082 * (high - low)
  assert (factors.domain == 1).all()
  off_diagonal = np.corrcoef(drawn) - np.eye(4)
  assert abs(off_diagonal).max() < 0.03


def test_factors_are_drawn_by_random_alone():
  factors = shapes.draw_factors(Constant(0.25), 2, 3)
  np.testing.assert_allclose(factors.centre, np.full((3, 2), 0.4))
  np.testing.assert_allclose(factors.radius, np.full(3, 0.185))
  np.testing.assert_allclose(factors.hue, np.full(3, 0.25))
  assert factors.domain.tolist() == [2, 2, 2]


def test_images_are_a_function_of_the_generator():
  one = shapes.draw_images(np.random.default_rng([3, 7]), 2, 2, 32)
  same = shapes.draw_images(np.random.default_rng([3, 7]), 2, 2, 32)
  other = shapes.draw_images(np.random.default_rng([3, 8]), 2, 2, 32)
  first = shapes.draw_images(np.random.default_rng([3, 7]), 2, 1, 32)
  np.testing.assert_array_equal(one, same)
  np.testing.assert_array_equal(one[:1], first)
  assert (one != other).any()
  assert (one[0] != one[1]).any()


def test_one_image_for_good():
  factors = shapes.draw_factors(np.random.default_rng(0), 0, 1)
  np.testing.assert_allclose(factors.centre, [[0.554785, 0.407915]], atol=1e-6)
  np.testing.assert_allclose(factors.radius, [0.164097], atol=1e-6)
  np.testing.assert_allclose(factors.hue, [0.016528], atol=1e-6)


def test_domains_may_be_mixed():
  rng = np.random.default_rng(0)
  drawn = [shapes.draw_factors(rng, domain, 2) for domain in ALL_DOMAINS]
  order = np.array([4, 0, 2, 5, 1, 3])
  mixed = shapes.Factors(
    *(np.concatenate(part)[order] for part in zip(*drawn, strict=True))
  )
  apart = np.concatenate([shapes.render(part, 32) for part in drawn])
  np.testing.assert_array_equal(shapes.render(mixed, 32), apart[order])


@pytest.mark.parametrize('domain', ALL_DOMAINS)
@pytest.mark.parametrize('radius', [0.165, 0.255])
def test_ring_lacks_a_quarter_of_the_area(domain, radius):
  ring = _coverage_of_one(domain, (0.51, 0.5), radius, 64, outline=True)
  np.testing.assert_allclose(ring.mean(), 0.75 * math.pi * radius**2, rtol=0.02)
  filled = _coverage_of_one(domain, (0.51, 0.5), radius, 64)
  hole = _coverage_of_one(domain, (0.51, 0.5), radius / 2, 64)
  np.testing.assert_allclose(ring + hole, filled, atol=1e-5)


def test_ring_pixels_hold_their_share():
  radius = 5.25 / 16 / (math.sqrt(math.pi) / 2)  # half the side is 5.25 pixels
  row = _coverage_of_one(1, (0.5, 0.5), radius, 16, outline=True)[8]
  left = [0, 0, 0.25, 1, 1, 0.375, 0, 0]  # the hole's half side is 2.625
  np.testing.assert_allclose(row, left + left[::-1], atol=1e-5)


@pytest.mark.parametrize(
  'domain, width',  # half the distance to the edge, which is 5.28 for a circle
  [('circle', 2.64), ('square', 2.340), ('triangle', 2.053)],
)
def test_thinnest_rings_are_two_pixels_wide(domain, width):
  domain = shapes.DOMAINS.index(domain)
  radius = shapes.SMALL_RADII[0]
  cover = _coverage_of_one(domain, (16.5 / 32, 0.5), radius, 32, outline=True)
  np.testing.assert_allclose(cover[16:, 16].sum(), width, atol=0.001)


def test_only_what_is_an_outline_is_drawn_as_one():
  drawn = [
    shapes.draw_factors(np.random.default_rng(domain), domain, 4)
    for domain in ALL_DOMAINS
  ]
  filled = shapes.Factors(*map(np.concatenate, zip(*drawn, strict=True)))
  assert filled.outline.dtype == bool
  assert not filled.outline.any()
  outline = np.arange(12) % 2 == 0
  images = shapes.render(filled._replace(outline=outline), 32)
  expected = shapes.render(filled, 32)
  np.testing.assert_array_equal(images[~outline], expected[~outline])
  column, row = (32 * filled.centre).astype(int).T
  middles = images[np.arange(12), row, column]
  assert (middles[outline] == 31).all()  # the ground
  assert (middles[~outline].max(axis=-1) == 242).all()


def test_attributes_fill_their_ranges():
  count = 20_000
  factors = shapes.draw_attributes(np.random.default_rng(0), count)
  warm, large, outline = shapes.attributes_of(factors).T == 1
  assert 0 <= factors.hue.min() < factors.hue.max() < 1
  hue_from_red = (factors.hue + 0.5) % 1 - 0.5
  for values, low, high in (
    (factors.centre[:, 0], 0.3, 0.7),
    (factors.centre[:, 1], 0.3, 0.7),
    (hue_from_red[warm], -1 / 6, 1 / 6),
    (factors.hue[~warm], 1 / 3, 2 / 3),
    (factors.radius[large], 0.225, 0.255),
    (factors.radius[~large], 0.165, 0.195),
  ):
    assert low <= values.min() < low + 0.002 * (high - low)
    assert high - 0.002 * (high - low) < values.max() < high
    # Of 9700 uniform draws or more, 4 standard errors.
    assert abs(values.mean() - (low + high) / 2) < 0.0118 * (high - low)
  for has in (warm, large, outline):
    assert abs(has.mean() - 1 / 2) < 0.0142  # 4 standard errors
  shares = np.bincount(factors.domain) / count
  np.testing.assert_allclose(shares, [1 / 3] * 3, atol=0.0134)
  drawn = [factors.domain, *factors.centre.T, warm, large, outline]
  off_diagonal = np.corrcoef(drawn) - np.eye(6)
  assert abs(off_diagonal).max() < 0.03


@pytest.mark.parametrize(
  'value, domain, centre, radius, hue, has',
  [
    (0.25, 0, 0.4, 0.2325, 11 / 12, 1),
    (0.75, 2, 0.6, 0.1875, 7 / 12, 0),
    (0.5, 1, 0.5, 0.18, 0.5, 0),
  ],
)
def test_attributes_are_drawn_by_random_alone(
  value, domain, centre, radius, hue, has
):
  factors = shapes.draw_attributes(Constant(value), 2)
  assert factors.domain.tolist() == [domain] * 2
  np.testing.assert_allclose(factors.centre, np.full((2, 2), centre))
  np.testing.assert_allclose(factors.radius, np.full(2, radius))
  np.testing.assert_allclose(factors.hue, np.full(2, hue))
  assert factors.outline.dtype == bool
  assert factors.outline.tolist() == [has] * 2
  assert shapes.attributes_of(factors).tolist() == [[has] * 3] * 2


def test_attribute_draws_are_a_function_of_the_generator():
  one, same, other, first = (
    shapes.draw_attributes(np.random.default_rng([3, seed]), count)
    for seed, count in ((7, 50), (7, 50), (8, 50), (7, 20))
  )
  for part, again, apart, start in zip(one, same, other, first, strict=True):
    np.testing.assert_array_equal(part, again)
    np.testing.assert_array_equal(part[:20], start)
    assert (part != apart).any()


def test_attributes_of_one_image_for_good():
  factors = shapes.draw_attributes(np.random.default_rng(0), 1)
  assert factors.domain.tolist() == [1]
  np.testing.assert_allclose(factors.centre, [[0.407915, 0.316389]], atol=1e-6)
  np.testing.assert_allclose(factors.radius, [0.165496], atol=1e-6)
  np.testing.assert_allclose(factors.hue, [0.604423], atol=1e-6)
  assert shapes.attributes_of(factors).tolist() == [[0, 0, 0]]


def test_attributes_by_hand():
  count = 7
  factors = shapes.Factors(
    domain=np.zeros(count, int),
    centre=np.full((count, 2), 0.5),
    radius=np.array([0.1, 0.195, 0.209, 0.211, 0.225, 0.3, 0.2]),
    hue=np.array([0.0, 0.24, 0.26, 0.5, 0.74, 0.76, 0.99]),
    outline=np.array([True, True, False, False, True, False, True]),
  )
  assert shapes.ATTRIBUTES == ('warm', 'large', 'outline')
  found = shapes.attributes_of(factors)
  assert found.dtype == np.float32
  expected = [
    [1, 0, 1],
    [1, 0, 1],
    [0, 0, 0],
    [0, 1, 0],
    [0, 1, 1],
    [1, 1, 0],
    [1, 0, 1],
  ]
  assert found.tolist() == expected
