"""Crops: drawn alike on host and devices, cut as Pillow and torchvision do."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan.data import crops, preprocess, streams

HEADS = 2**31  # the first word that is one
TAILS = HEADS - 1  # and the last one that is not


def words_of(*numbers):
  return np.array(numbers, np.uint32)


def drawn_words(crop, count=4000, seed=0):
  """Random bits for crops, uint32 [count, num_words]."""
  words = streams.words(seed, 0, count * crop.num_words)
  return words.reshape(count, crop.num_words)


def noise(seed, width=64, height=64):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def places(width, height):
  """A picture whose red and green are 3 times column and row."""
  y, x = np.indices((height, width), np.uint8)
  return Image.fromarray(np.stack([3 * x, 3 * y, 0 * x], axis=-1))


def half_red(side=64):
  pixels = np.zeros((side, side, 3), np.uint8)
  pixels[:, : side // 2] = 255, 0, 0
  return Image.fromarray(pixels)


def torchvision_box(rng, width, height):
  """Left, top, width and height as RandomResizedCrop draws them, one by one."""
  for _ in range(10):
    area = width * height * rng.uniform(*crops.SCALE)
    ratio = math.exp(rng.uniform(*map(math.log, crops.RATIO)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      left = int(rng.random() * (width - w + 1))
      top = int(rng.random() * (height - h + 1))
      return left, top, w, h
  w = min(width, max(1, round(height * crops.RATIO[1])))
  h = min(height, max(1, round(width / crops.RATIO[0])))
  return (width - w) // 2, (height - h) // 2, w, h


def torchvision_boxes(width, height, count=4000):
  rng = np.random.default_rng(0)
  return np.array([torchvision_box(rng, width, height) for _ in range(count)])


def to_array(box):
  """Left, top, width, height, and whether it is mirrored: [..., 5]."""
  parts = [np.asarray(part, float) for part in box]
  return np.concatenate([*parts[:2], parts[2][..., None]], axis=-1)


@functools.cache
def _drawn_on_device(crop):
  return jax.jit(jax.vmap(crop.draw, in_axes=(0, None)))


@functools.cache
def _cut_on_device(crop):
  return jax.jit(jax.vmap(crop.on_device, in_axes=(0, None, None)))


def cut_on_device(crop, words, pixels, size):
  """Crops of one picture: [N, S, S, 3]."""
  return np.asarray(_cut_on_device(crop)(words, pixels, jnp.array(size)))


SIZES = [(64, 64), (256, 217), (200, 256), (40, 10)]
CROPS = [
  crops.ResizedCrop(),
  crops.Square(64, 64),
  crops.Square(64, 75),
  crops.Square(64, 75, random=False),
]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('crop', CROPS, ids=repr)
def test_host_and_devices_draw_the_same_boxes(crop, size):
  words = drawn_words(crop, 500)
  size = np.array(size)
  host = np.stack([to_array(crop.draw(w, size)) for w in words])
  devices = to_array(_drawn_on_device(crop)(words, jnp.array(size)))
  # Of float32 the last bit may round a side up here and down there, and then
  # the corner is another one.
  same = (abs(host - devices) < 1e-4 * size.max()).all(1)
  assert same.mean() > 0.99
  assert (abs(host - devices)[:, 2:4] <= 1 + 1e-4 * size.max()).all()
  assert ((host[:, :2] + host[:, 2:4]) <= size + 1e-9).all()
  if getattr(crop, 'random', True):
    assert abs(host[:, 4].mean() - 0.5) < 4 * 0.0224


@pytest.mark.parametrize('size', SIZES)
def test_boxes_are_distributed_as_in_torchvision(size):
  draw = jax.jit(jax.vmap(crops.random_box, in_axes=(0, None)))
  words = drawn_words(crops.ResizedCrop())[:, 2:]
  ours = np.concatenate(draw(words, jnp.array(size)), axis=1)
  theirs = torchvision_boxes(*size)
  for boxes in (ours, theirs):
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:] <= size).all()
  error = np.hypot(ours.std(0), theirs.std(0)) / 4000**0.5
  assert (abs(ours.mean(0) - theirs.mean(0)) <= 4 * error).all()
  # Fourth moments of these boxes are below 3: a sixth bounds 4 deviations.
  np.testing.assert_allclose(ours.std(0), theirs.std(0), rtol=0.07)
  quantiles = np.linspace(0, 1, 11)
  a, b = (np.quantile(boxes, quantiles, 0) for boxes in (ours, theirs))
  assert (abs(a - b) <= np.maximum(0.04 * max(size), 1)).all()
  both = [np.corrcoef(boxes[:, 2:].T + 1e-9)[0, 1] for boxes in (ours, theirs)]
  if size != (40, 10):
    assert abs(both[0] - both[1]) < 0.08
  else:  # None fits: all are the one in the middle.
    assert (ours == theirs).all()


def test_boxes_keep_to_scale_and_ratio():
  words = drawn_words(crops.ResizedCrop(), 2000)[:, 2:]
  drawn = [crops.random_box(w, np.array([640, 600])) for w in words]
  boxes = np.array([np.concatenate(box) for box in drawn])
  w, h = boxes[:, 2:].T
  area, ratio = w * h / (640 * 600), w / h
  assert boxes.min() >= 0
  assert ((boxes[:, :2] + boxes[:, 2:]).max(0) <= [640, 600]).all()
  assert 0.798 < area.min() < 0.802 and 0.97 < area.max() < 1.002
  assert 0.898 < ratio.min() < 0.91 and 1.09 < ratio.max() < 1.102
  # In the middle of its range the logarithm of the ratio is half of log 0.99.
  side, root = math.sqrt(0.8) * 2000, 0.99**0.25
  middle = words_of(0, 0, *[0, HEADS] * 10)
  corner, sides = crops.random_box(middle, np.array([2000, 2000]))
  assert corner.tolist() == [0, 0]
  assert sides.tolist() == [round(side * root), round(side / root)]


@pytest.mark.parametrize(
  'size, box',
  [((100, 10), (44, 0, 11, 10)), ((10, 100), (0, 44, 10, 11))],
)
def test_a_picture_too_long_is_cropped_in_the_middle(size, box):
  words = drawn_words(crops.ResizedCrop(), 1)[0, 2:]
  host = crops.random_box(words, np.array(size))
  devices = crops.random_box(jnp.array(words), jnp.array(size))
  for corner, sides in (host, devices):
    assert (*corner.tolist(), *sides.tolist()) == box


def test_the_whole_may_be_mirrored():
  picture = half_red()
  plain = preprocess.resize(picture, 32)
  never, perhaps = crops.Whole(), crops.Whole(mirrors=True)
  assert (never.num_words, perhaps.num_words) == (0, 1)
  for crop, words, expected in (
    (never, words_of(), plain),
    (perhaps, words_of(HEADS - 1), plain),
    (perhaps, words_of(HEADS), plain[:, ::-1]),
  ):
    np.testing.assert_array_equal(crop.on_host(words, picture, 32), expected)
    x = crop.on_device(jnp.array(words), jnp.array(plain), jnp.array([64, 64]))
    np.testing.assert_array_equal(x, expected)


def test_a_picture_is_seen_whole_or_cropped_and_mirrored():
  image, crop = half_red(), crops.ResizedCrop()
  plain = preprocess.resize(image, 32)
  # 0.8 of the area, square, from the left: 57 pixels of which 32 are red.
  box = (0, 0, *[0, HEADS] * 10)
  same = crop.on_host(words_of(0, 0, *box), image, 32)
  np.testing.assert_array_equal(same, plain)
  mirrored = crop.on_host(words_of(HEADS - 1, HEADS, *box), image, 32)
  np.testing.assert_array_equal(mirrored, plain[:, ::-1])
  cropped = crop.on_host(words_of(HEADS, 0, *box), image, 32)
  assert (cropped[0, :, 0] > 127).sum() == round(32 * 32 / 57)
  both = crop.on_host(words_of(HEADS, HEADS, *box), image, 32)
  np.testing.assert_array_equal(both, cropped[:, ::-1])


def test_half_are_mirrored_and_half_cropped():
  ramp = np.arange(16, dtype=np.uint8) * 16
  pixels = np.broadcast_to(ramp[None, :, None], (16, 16, 3))
  crop = crops.ResizedCrop()
  out = cut_on_device(crop, drawn_words(crop), pixels, (16, 16))
  assert out.min() == 0 and out.max() == 240 and (out == np.rint(out)).all()
  lines = out[:, 0, :, 0]
  mirrored = lines[:, 0] > lines[:, -1]
  whole = (np.where(mirrored[:, None], lines[:, ::-1], lines) == ramp).all(1)
  assert abs(mirrored.mean() - 0.5) < 4 * 0.0079
  # One of many boxes is the whole image.
  boxes = torchvision_boxes(16, 16)
  full = np.mean((boxes[:, 0] == 0) & (boxes[:, 2] == 16))
  assert abs(whole.mean() - (1 + full) / 2) < 4 * 0.011
  assert abs((mirrored & whole).mean() - (1 + full) / 4) < 4 * 0.011


def test_on_the_devices_a_crop_is_that_of_the_host_bit_for_bit():
  """Of pictures that are stored at a size that is a power of two."""
  crop, pixels = crops.ResizedCrop(), noise(0)
  words = drawn_words(crop, 40)
  got = cut_on_device(crop, words, pixels, (64, 64))
  picture = Image.fromarray(pixels)
  expected = np.stack([crop.on_host(w, picture, 64) for w in words])
  assert 0 < (expected == pixels).all((1, 2, 3)).sum() < 20  # seen whole
  np.testing.assert_array_equal(got, expected)


@functools.cache
def _resample():
  return jax.jit(
    lambda pixels, box, size, mirror: crops.resample(
      pixels, crops.Box(box[:2], box[2:], mirror), size
    )
  )


@pytest.mark.parametrize('seed', range(5))
def test_a_crop_is_what_pillow_gives_bit_for_bit(seed):
  pixels, size = noise(seed), np.array([64, 64])
  box = np.array(torchvision_box(np.random.default_rng(seed), 64, 64))
  ends = *box[:2], *(box[:2] + box[2:])
  cropped = Image.fromarray(pixels).crop(ends)
  expected = preprocess.resize(cropped, 64)
  got = np.asarray(_resample()(pixels, box, size, False))
  np.testing.assert_array_equal(got, expected)
  got = np.asarray(_resample()(pixels, box, size, True))
  np.testing.assert_array_equal(got, expected[:, ::-1])
  whole = np.array([0, 0, 64, 64])
  np.testing.assert_array_equal(_resample()(pixels, whole, size, False), pixels)


@pytest.mark.parametrize('size', [(10, 1000), (1000, 10), (1, 64)])
def test_a_box_thinner_than_a_pixel_has_a_picture(size):
  crop = crops.ResizedCrop()
  pixels = np.full((8, 8, 3), 200, np.uint8)
  x = cut_on_device(crop, drawn_words(crop, 16), pixels, size)
  np.testing.assert_array_equal(x, 200)


def test_a_crop_in_stored_pixels_is_close_to_pillow():
  rng = np.random.default_rng(0)
  width, height = 256, 217
  for seed in range(5):
    pixels = noise(seed)
    box = np.array(torchvision_box(rng, width, height))
    scale = np.array([64 / width, 64 / height, 64 / width, 64 / height])
    ends = *box[:2], *(box[:2] + box[2:])
    expected = Image.fromarray(pixels).resize(
      (64, 64), Image.Resampling.BILINEAR, box=tuple(scale * ends)
    )
    got = _resample()(pixels, box, np.array([width, height]), False)
    # At its edges Pillow looks beyond the box; the two filters round alike.
    inner = slice(1, -1), slice(1, -1)
    error = abs(np.asarray(got) - np.asarray(expected, np.float32))[inner]
    assert error.max() <= 1 and (error > 0).mean() < 1e-3


@pytest.mark.parametrize('size', [(50, 73), (73, 50), (40, 40), (9, 20)])
@pytest.mark.parametrize('load_size, img_size', [(24, 16), (16, 16), (60, 32)])
def test_a_square_lies_in_the_picture_made_smaller(size, load_size, img_size):
  pixels = noise(0, *size)
  picture, crop = Image.fromarray(pixels), crops.Square(img_size, load_size)
  # As torchvision's Resize does it: the longer side is rounded down.
  width, height = (int(load_size * n / min(size)) for n in size)
  whole = picture.resize((width, height), Image.Resampling.BILINEAR)
  columns, rows = width - img_size + 1, height - img_size + 1
  for u, v, mirror in [(0, 0, HEADS), (0.3, 0.7, 0), (0.9999, 0.9999, TAILS)]:
    left, top = int(u * columns), int(v * rows)
    box = left, top, left + img_size, top + img_size
    expected = np.int32(np.asarray(whole.crop(box)))
    if mirror == HEADS:
      expected = expected[:, ::-1]
    # A multiple of the number of places is added: only the rest counts.
    words = words_of(left + 7 * columns, top + 5 * rows, mirror)
    got = crop.on_host(words, picture, img_size)
    assert got.dtype == np.uint8
    # Pillow takes boxes in float32, and rounds after each direction.
    assert abs(got - expected).max() <= 2
    if left + img_size < width:  # a pixel further would be seen
      beside = np.int32(np.asarray(whole))[box[1] : box[3], left + 1 :]
      assert abs(got - beside[:, :img_size]).max() > 20


def test_every_place_of_a_square_is_drawn():
  crop = crops.Square(16, 20)
  words = drawn_words(crop, 1000)
  drawn = [crop.on_host(w, places(24, 20), 16) for w in words]
  columns = np.array([min(x[0, 0, 0], x[0, -1, 0]) for x in drawn])
  rows = np.array([x[0, 0, 1] for x in drawn])
  mirrored = np.array([x[0, 0, 0] > x[0, -1, 0] for x in drawn])
  assert abs(mirrored.mean() - 0.5) < 4 * 0.0158
  for corner, count in ((columns, 9), (rows, 5)):
    share = np.bincount(corner // 3, minlength=count) / 1000
    assert len(share) == count
    np.testing.assert_allclose(share, 1 / count, atol=4 * 0.0127)


def test_nothing_is_cut_off_a_square_picture_of_that_size():
  picture = places(40, 40)
  words = words_of(2**32 - 1, 2**32 - 1, 0)
  got = crops.Square(16, 16).on_host(words, picture, 16)
  np.testing.assert_array_equal(got, preprocess.resize(picture, 16))


def test_a_very_long_picture_has_squares():
  crop = crops.Square(256, 256)
  for size in ((65536, 1), (1, 65536)):
    picture = Image.new('RGB', size, (200, 200, 200))
    last = 256 * 65536 - 256
    for word in (0, last // 2, last):
      corner = [word if n > 1 else 0 for n in size]
      got = crop.on_host(words_of(*corner, HEADS), picture, 256)
      np.testing.assert_array_equal(got, 200)


@pytest.mark.parametrize('size', [(40, 60), (60, 40), (20, 20)])
def test_on_the_devices_squares_are_those_of_the_host(size):
  picture, crop = places(*size), crops.Square(16, 20)
  squeezed = preprocess.resize(picture, 16)
  words = drawn_words(crop, 1000)
  cuts = cut_on_device(crop, words, squeezed, size)
  assert (cuts == np.rint(cuts)).all()
  for got, w in zip(cuts[:100], words[:100], strict=True):
    expected = np.float32(crop.on_host(w, picture, 16))
    # Straight lines stay straight, but where the squeezed picture ends.
    error = abs(got - expected)
    assert error[2:-2, 2:-2].max() <= 2 and error.max() <= 8
  room = [n * 20 // min(size) - 16 for n in size]
  drawn = _drawn_on_device(crop)(words, jnp.array(size)).corner
  corners = np.rint(np.asarray(drawn) * 20 / min(size)).astype(int)
  for corner, count in zip(corners.T, np.array(room) + 1, strict=True):
    share = np.bincount(corner, minlength=count) / 1000
    assert len(share) == count
    np.testing.assert_allclose(share, 1 / count, atol=4 * 0.0127)
  left_dark = cuts[:, 8, 0, 0] < cuts[:, 8, -1, 0]
  assert abs(left_dark.mean() - 0.5) < 4 * 0.0158
  middle = crops.Square(16, 20, random=False)
  expected = np.float32(middle.on_host(words[0], picture, 16))
  for got in cut_on_device(middle, words[:20], squeezed, size):
    assert abs(got - expected)[2:-2, 2:-2].max() <= 2
