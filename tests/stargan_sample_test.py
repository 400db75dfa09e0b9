import functools

import jax
import numpy as np
import pytest

from jaxgan.apps import trained_model
from jaxgan.data import preprocess, shapes
from jaxgan.data.labels import FLIP, KEEP
from jaxgan.runtime import errors, images, sharding
from jaxgan.systems import stargan
from jaxgan.systems.stargan import sample, step
from tests import cells
from tests import tiny_stargan as tiny


def _noise(count):
  rng = np.random.default_rng(1)
  shape = (count, tiny.SIZE, tiny.SIZE, 3)
  return rng.uniform(-1, 1, shape).astype(np.float32)


@functools.cache
def _grids(kind):
  overrides = getattr(tiny, kind)
  val = stargan.create_data(tiny.config(**overrides)).training(0, 1).val
  grids = stargan.grids(tiny.translator(**overrides), val, jax.random.key(0))
  return grids, val.batch(sample.NUM_SOURCES)


@pytest.mark.parametrize(
  'kind, heights',
  [
    ('DOMAINS', {'targets': 1 + 3, 'cycle': 3}),
    (
      'JOINT',
      {'targets': 1 + 6, 'cycle': 3, 'joint_targets': 1 + 6, 'joint_cycle': 3},
    ),
  ],
)
def test_grids_have_their_names_and_shapes(kind, heights):
  grids, *_ = _grids(kind)
  assert grids.keys() == heights.keys()
  for name, rows in heights.items():
    _cells(grids[name], rows)
  assert all(x.dtype == np.uint8 for x in grids.values())


def _cells(grid, rows):
  return cells.read(grid, tiny.SIZE, rows, sample.NUM_SOURCES).astype(int)


def _pixels(x):
  return np.clip((np.asarray(x) + 1) * 127.5, 0, 255)


def test_cells_are_sources_translations_and_the_way_back():
  grids, batch = _grids('DOMAINS')
  state, model = tiny.create()
  translate = functools.partial(tiny.translate_fn(model), state.params)
  x = batch['x0'][3:4]  # a circle
  there = [translate(x, np.eye(3, dtype=np.float32)[[i]]) for i in range(3)]
  back = translate(there[2], batch['c0'][3:4])
  for name, expected in (
    ('targets', [x, *there]),
    ('cycle', [x, there[2], back]),
  ):
    got = _cells(grids[name], len(expected))[:, 3]
    assert abs(got - _pixels(np.concatenate(expected))).max() <= 1, name


def test_of_a_second_set_the_classifier_tells_the_labels_of_the_first():
  grids, batch = _grids('JOINT')
  state, model = tiny.create(**tiny.JOINT)
  x = batch['x1'][3:4]
  _, logits = tiny.discriminate_fn(model)(state.params, x)
  asked = np.zeros((1, 8), np.float32)
  asked[:, :3] = logits[:, :3] > 0
  asked[:, 1] = 1 - asked[:, 1]  # the second target, turned over
  asked[:, 6] = 1  # the mask
  fake = tiny.translate_fn(model)(state.params, x, asked)
  got = _cells(grids['joint_targets'], 7)[2, 3]
  assert abs(got - _pixels(fake[0])).max() <= 1
  # What the data tell is not asked of the classifier.
  asked[:, :3] = batch['c0'][3:4]
  asked[:, 1] = 1 - asked[:, 1]
  fake = tiny.translate_fn(model)(state.params, batch['x0'][3:4], asked)
  got = _cells(grids['targets'], 7)[2, 3]
  assert abs(got - _pixels(fake[0])).max() <= 1


def test_of_many_targets_the_grids_show_some(monkeypatch):
  monkeypatch.setattr(sample, 'MAX_TARGETS', 2)
  val = stargan.create_data(tiny.config(**tiny.DOMAINS)).training(0, 1).val
  grids = stargan.grids(tiny.translator(), val, None)
  whole, _ = _grids('DOMAINS')
  np.testing.assert_array_equal(  # the first and the last
    _cells(grids['targets'], 3), _cells(whole['targets'], 4)[[0, 1, 3]]
  )


@pytest.mark.parametrize(
  'kind, top, left, last',
  [
    (
      'DOMAINS',
      ['circle', 'square', 'triangle'],
      ['source', 'circle', 'square', 'triangle'],
      'translation\ntriangle',
    ),
    (
      'ATTRIBUTES',
      ['large', 'large', 'warm\nlarge\noutline'],
      ['source', *(f'{x}\nturned over' for x in ('warm', 'large', 'outline'))],
      'translation\noutline\nturned over',
    ),
  ],
)
def test_labels_are_of_targets_and_of_sources(
  kind, top, left, last, monkeypatch
):
  monkeypatch.setattr(images, 'labelled_grid', lambda *args: args[1:])
  overrides = getattr(tiny, kind)
  val = stargan.create_data(tiny.config(**overrides)).training(0, 1).val
  grids = stargan.grids(tiny.translator(**overrides), val, None)
  assert grids['targets'][0][:3] == grids['cycle'][0][:3] == top
  assert grids['targets'][1] == left
  assert grids['cycle'][1] == ['source', last, 'back again']


def test_of_many_labels_of_a_source_some_are_named():
  names = ['a', 'b', 'c', 'd', 'e', 'f']
  assert sample._list_names(names, np.ones(6)) == 'a\nb\nc\n3 more'
  assert sample._list_names(names, np.arange(6) > 1) == 'c\nd\ne\nf'
  assert sample._list_names(names, np.zeros(6)) == ''


def test_translations_are_the_same_on_one_and_two_devices():
  translator, (state, model) = tiny.translator(), tiny.create()
  assert sharding.create_local_mesh().size == 2
  x, y = _noise(6), np.array([2, 2, 2, 0, 0, 0])
  got = translator.translate(x, y)
  assert got.shape == x.shape
  expected = tiny.translate_fn(model)(
    state.params, x, np.eye(3, dtype=np.float32)[y]
  )
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('given', [True, False])
def test_what_is_kept_and_turned_over_is_given_or_seen(given):
  translator = tiny.translator(**tiny.ATTRIBUTES)
  state, model = tiny.create(**tiny.ATTRIBUTES)
  x, y = _noise(3), np.ones(3, np.int32)
  assert model.labels.code(1).tolist() == [KEEP, FLIP, KEEP]
  _, logits = tiny.discriminate_fn(model)(state.params, x)
  seen = np.asarray(logits > 0, np.float32)
  np.testing.assert_array_equal(translator.apply(step.estimate, y, x), seen)
  own = 1 - seen if given else seen
  if given:
    got = translator.apply(step.translate_known, y, x, own)
  else:
    got = translator.translate(x, y)
  asked = np.abs(own - np.float32([[0, 1, 0]]))
  expected = tiny.translate_fn(model)(state.params, x, asked)
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
  # Another label would be another picture.
  other = tiny.translate_fn(model)(state.params, x, 1 - asked)
  assert np.abs(other - expected).max() > 1e-3


def _model(kind):
  overrides = getattr(tiny, kind)
  return trained_model.Model(
    tiny.translator(**overrides), tiny.config(**overrides), 2, crop=False
  )


def test_attributes_of_a_source_can_be_told_by_name():
  state, model = tiny.create(**tiny.ATTRIBUTES)
  pixels = list(images.to_uint8(_noise(2)))
  (row,) = _model('ATTRIBUTES').translate(
    pixels, 'large', source_labels=[['warm', 'outline'], []]
  )
  x = preprocess.to_float(np.stack(pixels))
  asked = np.float32([[1, 1, 1], [0, 1, 0]])
  expected = tiny.translate_fn(model)(state.params, x, asked)
  assert abs(np.stack(row) - images.to_uint8(expected).astype(int)).max() <= 1


def test_attributes_that_a_source_cannot_have_are_one_line():
  model, pixels = _model('JOINT'), list(images.to_uint8(_noise(2)))
  assert model.source_labels == shapes.ATTRIBUTES  # no domain is asked for
  for labels, message in (
    ([['circle'], []], "no attribute 'circle' of sources, but: warm, large, o"),
    ([['warm']], 'source_labels are of 1 sources, and there are 2$'),
  ):
    with pytest.raises(errors.UserError, match=message):
      model.translate(pixels, 'warm', source_labels=labels)
  model = _model('DOMAINS')
  assert model.source_labels == ()
  with pytest.raises(errors.UserError, match='in this run nothing depends on'):
    model.translate(pixels, 'circle', source_labels=[[], []])


def test_the_classifier_runs_only_where_a_label_is_asked_for():
  for kind, asks in (('DOMAINS', False), ('ATTRIBUTES', True)):
    state, model = tiny.create(**getattr(tiny, kind))
    alone = {'generator': state.params['generator']}
    run = functools.partial(step.translate, model)
    args = alone, {}, _noise(2), np.zeros(2, np.int32)
    if asks:
      with pytest.raises(KeyError, match='discriminator'):
        jax.eval_shape(run, *args)
    else:
      assert jax.eval_shape(run, *args).shape == args[2].shape


@pytest.mark.parametrize('kind', ['DOMAINS', 'ATTRIBUTES', 'JOINT'])
def test_the_program_does_what_the_translator_does(kind):
  translator = tiny.translator(**getattr(tiny, kind))
  count = len(translator.model.labels.names)
  programs = translator.programs(count)
  assert list(programs) == list(stargan.KINDS) == ['label']
  x = np.tile(_noise(1), (count, 1, 1, 1))
  y = np.arange(count, dtype=np.int32)
  got = jax.jit(programs['label'])(x, y)
  assert got.dtype == np.float32
  np.testing.assert_allclose(
    got, translator.translate(x, y), rtol=1e-4, atol=1e-5
  )
