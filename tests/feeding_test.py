"""The engine that feeds slots: what is picked, and what replaces an image."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image

from jaxgan.data import crops, pictures, streams
from jaxgan.data.contracts import domains_ref, labelled, unpaired
from jaxgan.data.feeding import HostFeed
from jaxgan.data.preprocess import UnreadableImage
from jaxgan.data.streams import Stream
from jaxgan.runtime.errors import UserError

SIZE = 4


class Flat:
  """Stands in for images: red = domain, green = number in it."""

  def __init__(self, counts, bad=()):
    self.domains = tuple('abc'[: len(counts)])
    self.counts = self.drawable = counts
    self.bad, self.read = set(bad), []

  def picture(self, domain, index):
    self.read.append((domain, index))
    if (domain, index) in self.bad:
      raise UnreadableImage(f'{domain} {index}')
    return Image.new('RGB', (6, 5), (domain, index, 0))


def with_references(images):
  return domains_ref.Picks(
    images, crops.Whole(), Stream.BATCH, domains_ref.KEYS, num_words=5
  )


def of_two(images):
  return unpaired.Picks(
    images, crops.Whole(), Stream.BATCH, unpaired.KEYS, num_words=2
  )


def with_labels(images, stream=Stream.BATCH, name='0'):
  return labelled.Picks(
    images,
    crops.Whole(mirrors=True),
    stream,
    (f'x{name}',),
    2,
    lambda *key: np.array(key, np.float32),
    f'c{name}',
  )


def feed_of(*parts, seed=3):
  return HostFeed(
    parts, seed=seed, batch_size=4, img_size=SIZE, skip_bad_images=True
  )


def held(slot):
  """Domain and number of the image of each key, of one slot."""
  found = {}
  for key, x in slot.items():
    if key[0] == 'x':
      assert x.shape == (SIZE, SIZE, 3) and np.ptp(x, axis=(0, 1)).max() == 0
      red, green, _ = np.rint((x[0, 0] + 1) * 127.5).astype(int).tolist()
      found[key] = red, green
  return found


def slots_of(part, count, seed=3):
  feed = feed_of(part, seed=seed)
  return [feed.slot(7, slot) for slot in range(count)], feed.skipped


PARTS = [
  (with_references, (5, 3, 1)),
  (of_two, (5, 3)),
  (with_labels, (5, 300, 1)),
]


@pytest.mark.parametrize(
  'create, counts', [*PARTS, (with_references, (2**31 - 1, 2**31 - 1))]
)
def test_host_and_devices_pick_the_same(create, counts):
  part = create(Flat(counts))
  words = streams.words(0, 0, 500 * part.num_words).reshape(500, -1)
  pick = jax.jit(jax.vmap(part.pick, in_axes=(0, None)))
  devices = pick(jnp.array(words), jnp.array(counts, jnp.int32))
  host = [part.pick(w, np.array(counts, np.int64)) for w in words]
  for ours, theirs in zip(
    map(np.stack, zip(*host, strict=True)), devices, strict=True
  ):
    assert ours.dtype == theirs.dtype == np.int32
    assert ours.shape == (500, len(part.keys))
    np.testing.assert_array_equal(ours, theirs)
  domains, numbers = devices
  assert (domains >= 0).all() and (numbers >= 0).all()
  assert (numbers < np.array(counts)[domains]).all()


@pytest.mark.parametrize('create, counts', PARTS)
def test_a_slot_holds_what_its_words_pick(create, counts):
  images = Flat(counts)
  part = create(images)
  for step, slot in ((0, 0), (7, 3), (2**40, 9)):
    images.read.clear()
    made = feed_of(part).slot(step, slot)
    words = streams.words(
      3, part.stream, part.words_per_slot, slot=slot, step=step
    )
    domains, numbers = part.pick(words[: part.num_words], np.array(counts))
    expected = list(zip(domains.tolist(), numbers.tolist(), strict=True))
    assert list(held(made).values()) == expected
    assert images.read == expected  # and nothing else


@pytest.mark.parametrize('create, counts', PARTS)
def test_an_unreadable_image_is_replaced_by_one_of_its_domain(create, counts):
  bad = {(0, 2), (1, 1)}
  sound, none = slots_of(create(Flat(counts)), 400)
  mended, skipped = slots_of(create(Flat(counts, bad)), 400)
  assert none == 0
  hits = 0
  for was, now in zip(map(held, sound), map(held, mended), strict=True):
    for key, image in was.items():
      if image not in bad:
        assert now[key] == image  # those beside it stay
        continue
      hits += 1
      assert now[key][0] == image[0] and now[key] not in bad
  assert 0 < hits <= skipped
  # The domains that are asked for are the same.
  for was, now in zip(sound, mended, strict=True):
    assert was.get('y_src') == now.get('y_src')
    assert was.get('y_ref') == now.get('y_ref')


def test_the_slot_does_not_hold_the_other_image_already():
  replaced, beside = [], []
  images = Flat((4, 2), bad={(0, 2)})
  sound, _ = slots_of(with_references(Flat((4, 2))), 3000)
  mended, _ = slots_of(with_references(images), 3000)
  for was, now in zip(map(held, sound), map(held, mended), strict=True):
    hit = [key for key, image in was.items() if image == (0, 2)]
    for key in hit:
      assert now[key] not in [now[other] for other in now if other != key]
    if hit == ['x_ref'] and now['x_src'][0] == 1:
      replaced.append(now['x_ref'][1])
      beside.append(now['x_ref2'][1])
  # The two that are left come alike.
  ahead = [
    [n for n in (0, 1, 3) if n != b].index(a)
    for a, b in zip(replaced, beside, strict=True)
  ]
  assert len(ahead) > 100
  assert abs(np.mean(ahead) - 0.5) < 4 * 0.5 / len(ahead) ** 0.5


def test_numbers_of_another_domain_do_not_matter():
  images = Flat((3, 3), bad={(1, 0)})
  sound, _ = slots_of(of_two(Flat((3, 3))), 600)
  mended, skipped = slots_of(of_two(images), 600)
  pairs = np.zeros((3, 3), int)
  for was, now in zip(map(held, sound), map(held, mended), strict=True):
    if was['x_b'] == (1, 0):
      pairs[now['x_a'][1], now['x_b'][1]] += 1
  assert pairs[:, 0].sum() == 0 and pairs.sum() > 150
  share = pairs[:, 1:] / pairs.sum()
  np.testing.assert_allclose(share, 1 / 6, atol=4 * 0.03)
  assert skipped < 2 * pairs.sum()  # a draw of three is bad again


def test_the_only_image_left_is_taken_twice():
  images = Flat((3,), bad={(0, 0), (0, 1)})
  made, _ = slots_of(with_references(images), 20)
  for slot in made:
    assert set(held(slot).values()) == {(0, 2)}
  images.bad.add((0, 2))
  with pytest.raises(UserError, match="no readable image of 'a' in 200 draws"):
    slots_of(with_references(images), 1)


def test_a_label_is_that_of_the_image_that_is_taken():
  images = Flat((5, 3), bad={(0, 0), (0, 3), (1, 1)})
  made, skipped = slots_of(with_labels(images), 300)
  for slot in made:
    assert slot['c0'].tolist() == list(held(slot)['x0'])
  assert skipped > 50


def test_parts_of_a_slot_are_drawn_apart():
  images = Flat((200,))
  for stream, least, most in (
    (Stream.JOINT_BATCH, 0, 0.05),
    (Stream.BATCH, 1, 1),  # so that it can be told
  ):
    feed = feed_of(with_labels(images), with_labels(images, stream, '1'))
    slots = [feed.slot(0, slot) for slot in range(300)]
    assert slots[0].keys() == {'x0', 'c0', 'x1', 'c1'}
    same = np.mean([len(set(held(slot).values())) == 1 for slot in slots])
    assert least <= same <= most
    for slot in slots:
      assert slot['c1'].tolist() == list(held(slot)['x1'])


def test_a_drawn_image_is_that_of_its_number():
  """Whatever was drawn before, of numbers without an end."""
  config = ml_collections.ConfigDict(
    {
      'seed': 3,
      'data': {'domains': (), 'img_size': 16, 'val_split': 'val'},
    }
  )
  images = pictures.ShapesImages(config, 'train')
  assert images.drawable == (2**31 - 1,) * 3 and images.counts == (1000,) * 3
  part = with_references(images)
  feed = HostFeed(
    [part], seed=3, batch_size=4, img_size=16, skip_bad_images=False
  )
  feed.slot(9, 0)
  numbers = []
  for slot in range(20):
    made = feed.slot(0, slot)
    words = streams.words(3, Stream.BATCH, 5, slot=slot)
    picked = part.pick(words, np.array(images.drawable))
    again = pictures.ShapesImages(config, 'train')
    for key, domain, number in zip(part.keys, *picked, strict=True):
      expected = again.get(int(domain), int(number))
      pixels = np.rint((made[key] + 1) * 127.5)
      np.testing.assert_array_equal(pixels, expected)
      numbers.append(number)
  assert len(set(numbers)) == 60 and min(numbers) < 2**30 < max(numbers)


ABANDON = """
import time
from jaxgan.data.contracts import domains_ref
from jaxgan.data.feeding import SlotFeed
from tests.domains_ref_test import make_config
source = domains_ref.Data(make_config()).training(0, 1).source
slow = lambda *args: time.sleep(0.1) or source.slot(*args)
batches = SlotFeed(slow, source.slot(0, 0), 4).batches()
next(batches)
raise SystemExit(3)
"""


@pytest.mark.slow
def test_a_program_that_leaves_its_batches_unread_can_end():
  for _ in range(3):  # Without care it hangs more often than not.
    command = [sys.executable, '-c', ABANDON]
    assert subprocess.run(command, timeout=60).returncode == 3
