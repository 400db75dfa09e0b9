"""Sample grids and looks at outputs, with images that tell what made them."""

import types
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxgan.data import preprocess
from jaxgan.inference import grids, outputs
from jaxgan.runs import collapse
from jaxgan.runtime import images

S = 2  # pixels


def _image(*channels):
  return np.full((S, S, 3), channels, np.uint8)


class _Val:
  """Image n of domain d is of colour (100 d + n, 0, 0)."""

  def __init__(self, *domains):
    self.domains = domains

  def readable(self, domain, index):
    return _image(100 * domain + index, 0, 0)


class _Translator:
  """The colour of an output: its source's red, its target, its style.

  A style of a reference is the red of that, one of a latent its row, and 100
  times psi where it is truncated.
  """

  def __init__(self, sources, kinds, reconstruct=None):
    self.system = types.SimpleNamespace(
      SOURCES=sources, KINDS=kinds, reconstruct=reconstruct
    )
    self.model = types.SimpleNamespace(latent_dim=4)

  def style(self, y, *, z=None, x_ref=None):
    marks = np.arange(len(y)) if x_ref is None else _red(x_ref)
    return np.stack([marks, y], axis=1)

  def truncated_style(self, y, z, psi):
    assert z.shape == (grids.LATENTS_PER_DOMAIN, 4)
    s = self.style(np.full(len(z), y), z=z)
    return s + np.array([100 * psi, 0])[None]

  def translate(self, x, y, s=None):
    s = np.stack([np.full(len(y), 255), y], 1) if s is None else s
    # A style is used with its own domain.
    np.testing.assert_array_equal(s[:, 1], y)
    colours = np.stack([_red(x), y, s[:, 0]], axis=1).astype(np.uint8)
    return preprocess.to_float(np.stack([_image(*c) for c in colours]))

  def translate_all(self, x, y, styles):
    y = np.full(len(x), y)
    return np.stack(
      [self.translate(x, y, s[None].repeat(len(x), 0)) for s in styles]
    )

  def apply(self, fn, y, x):
    return fn(y, x)


def _red(x):
  return np.rint((x[:, 0, 0, 0] + 1) * 127.5)


class _Grid(NamedTuple):
  """What a labelled grid is drawn of."""

  rows: Sequence
  top: Sequence[str]
  left: Sequence[str]


@pytest.fixture(autouse=True)
def labelled_grid(monkeypatch):
  """Pictures and labels, as they are before they are drawn."""
  monkeypatch.setattr(images, 'labelled_grid', _Grid)


def _cells(grid):
  """The colours of the images in a grid: [rows, columns, 3]."""
  assert len(grid.left) == len(grid.rows)
  assert all(len(grid.top) == len(row) for row in grid.rows)
  drawn = images.grid(grid.rows)
  return drawn[2 :: S + 2, 2 :: S + 2].tolist()


WHITE = [255, 255, 255]


def test_sources_of_any_domain_in_styles_of_references_and_latents():
  translator = _Translator('any', ('latent', 'reference'))
  drawn = grids.draw(translator, _Val('a', 'b'), jax.random.key(0))
  assert list(drawn) == [
    'reference',
    'cycle',
    'latent_psi0.5',
    'latent_psi0.7',
    'latent_psi1.0',
  ]
  # The domains in turn; references are other images than the sources.
  sources = [0, 100, 1, 101, 2, 102, 3, 103]
  references = [104, 4, 105, 5, 106, 6, 107, 7]
  y_src, y_ref = [0, 1] * 4, [1, 0] * 4
  above = [[red, 0, 0] for red in sources]
  assert _cells(drawn['reference']) == [
    [WHITE, *above],
    *(
      [[ref, 0, 0], *([red, y, ref] for red in sources)]
      for ref, y in zip(references, y_ref, strict=True)
    ),
  ]
  assert _cells(drawn['cycle']) == [
    above,
    [[ref, 0, 0] for ref in references],
    [list(c) for c in zip(sources, y_ref, references, strict=True)],
    [list(c) for c in zip(sources, y_src, sources, strict=True)],
  ]
  of_sources = ['a', 'b'] * 4
  assert drawn['reference'][1:] == (
    ['', *of_sources],
    ['source', *['b\nreference', 'a\nreference'] * 4],
  )
  assert drawn['cycle'][1:] == (
    ['a\nto b', 'b\nto a'] * 4,
    ['source', 'reference', 'translation', 'back again'],
  )
  for psi in (0.5, 0.7, 1.0):
    assert drawn[f'latent_psi{psi}'][1:] == (
      of_sources,
      [
        'source',
        *(f'{d}\nlatent {n}\npsi {psi}' for d in 'ab' for n in (1, 2, 3)),
      ],
    )
    assert _cells(drawn[f'latent_psi{psi}']) == [
      above,
      *(
        [[red, y, round(100 * psi) + n] for red in sources]
        for y in (0, 1)
        for n in range(3)
      ),
    ]


def test_a_system_of_one_kind_has_its_grids_alone():
  val, rng = _Val('a', 'b'), jax.random.key(0)
  drawn = grids.draw(_Translator('any', ('reference',)), val, rng)
  assert list(drawn) == ['reference', 'cycle']
  drawn = grids.draw(_Translator('any', ('latent',)), val, rng)
  assert len(drawn) == len(grids.PSIS)


@pytest.mark.parametrize(
  'num_domains, shown',
  [
    (1, [0]),
    (10, range(10)),
    (11, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]),
    (100, range(0, 100, 11)),
  ],
)
def test_of_many_domains_the_grids_show_some(num_domains, shown):
  val = _Val(*map(str, range(num_domains)))
  val.readable = lambda domain, index: _image(0, 0, 0)
  drawn = grids.draw(_Translator('any', ('latent',)), val, jax.random.key(0))
  assert list(drawn) == ['latent_psi0.5', 'latent_psi0.7', 'latent_psi1.0']
  for grid in drawn.values():
    targets = [row[0][1] for row in _cells(grid)[1:]]
    np.testing.assert_array_equal(targets, np.repeat(shown, 3))
    assert [int(x.split('\n')[0]) for x in grid.left[1:]] == targets


def test_between_two_domains_each_direction_has_its_grids():
  def reconstruct(y, x):
    return preprocess.to_float(
      np.stack([_image(red, d, 77) for red, d in zip(_red(x), y, strict=True)])
    )

  kinds = ('latent', 'reference')
  translator = _Translator('other', kinds, reconstruct)
  drawn = grids.draw(translator, _Val('a', 'b'), jax.random.key(0))
  names = [f'{way}_{k}' for way in ('a2b', 'b2a') for k in (*kinds, 'cycle')]
  assert list(drawn) == names
  for source, way in ((0, 'a2b'), (1, 'b2a')):
    target = 1 - source
    sources = [100 * source + n for n in range(8)]
    references = [100 * target + n for n in range(6)]
    above = [[red, 0, 0] for red in sources]
    assert _cells(drawn[f'{way}_latent']) == [
      above,
      *([[red, target, n] for red in sources] for n in range(6)),
    ]
    assert _cells(drawn[f'{way}_reference']) == [
      [WHITE, *above],
      *(
        [[ref, 0, 0], *([red, target, ref] for red in sources)]
        for ref in references
      ),
    ]
    here, there = way[0], way[2]
    top, unnamed = f'source\n{here}', [''] * 8
    assert drawn[f'{way}_latent'][1:] == (
      unnamed,
      [top, *(f'{there}\nlatent {n}' for n in range(1, 7))],
    )
    assert drawn[f'{way}_reference'][1:] == (
      ['', *unnamed],
      [top, *[f'{there}\nreference'] * 6],
    )
    assert drawn[f'{way}_cycle'][1:] == (
      unnamed,
      [
        top,
        f'reconstruction\n{here}',
        f'translation\n{there}',
        f'back again\n{here}',
      ],
    )
    # A latent for each source, beside those of the grid of latents.
    assert _cells(drawn[f'{way}_cycle']) == [
      above,
      [[red, source, 77] for red in sources],
      [[red, target, 6 + n] for n, red in enumerate(sources)],
      [[red, source, red] for red in sources],
    ]


def test_of_a_system_without_styles_the_way_back_is_all():
  translator = _Translator('other', ('label',))
  drawn = grids.draw(translator, _Val('a', 'b'), jax.random.key(0))
  assert list(drawn) == ['a2b', 'b2a']
  assert _cells(drawn['b2a']) == [
    [[100 + n, y, style] for n in range(8)]
    for y, style in ((0, 0), (0, 255), (1, 255))
  ]
  assert drawn['b2a'].left == ['source\nb', 'translation\na', 'back again\nb']


def test_domains_that_no_label_can_show_are_numbered():
  translator = _Translator('other', ('label',))
  drawn = grids.draw(translator, _Val('caf\xe9', '猫'), jax.random.key(0))
  assert drawn['caf\xe92猫'].left == [
    'source\ncafe',
    'translation\ndomain 2',
    'back again\ncafe',
  ]


class _Drawn:
  """Image n of domain d has a bar at n, of brightness d."""

  def __init__(self, *domains):
    self.domains = domains

  def readable(self, domain, index):
    image = np.full((32, 32, 3), 40, np.uint8)
    image[2 * index + 2 : 2 * index + 8, 8:24] = 200 + domain
    return image


class _Maker:
  """Makes of sources [-1, 1] what `make` says, and notes the targets."""

  def __init__(self, make, *kinds):
    self.make, self.asked = make, []
    self.system = types.SimpleNamespace(KINDS=kinds)
    self.model = types.SimpleNamespace(latent_dim=4)

  def style(self, y, *, z=None, x_ref=None):
    assert len(y) == 1
    return z if x_ref is None else x_ref.mean((1, 2))

  def translate(self, x, y, s):
    self.asked.append((np.rint((x.max((1, 2, 3)) + 1) * 127.5) - 200, y, s))
    return self.make(x)


def _look(make, *kinds, names=('a', 'b'), domains=('a', 'b')):
  maker = _Maker(make, *kinds or ['label'])
  targets = outputs.read_targets(_Drawn(*domains), names)
  found = outputs.look(maker, targets, jax.random.key(0))
  assert list(found) == [collapse.NOISE, collapse.SPREAD]
  return maker, *found.values()


def test_outputs_are_measured_in_units_of_real_images():
  noise = np.random.default_rng(0).uniform(-1, 1, (8, 32, 32, 3))
  for make, *expected in (
    (lambda x: x, 1.006, 1.0),
    (lambda x: -x, 1.006, 0.997),
    (lambda x: x[::-1] / 2, 0.5, 0.5),
    (lambda x: x[:1].repeat(8, 0), 1.006, 0.004),
    (lambda x: 0 * x, 0.026, 0.004),
    (lambda x: np.nan * x, 0.026, 0.004),
    (lambda x: noise, 17.47, 0.915),
    (lambda x: 100 * noise, 32.3, 1.617),  # clipped, as pictures are
  ):
    _, *found = _look(make)
    assert found == pytest.approx(expected, abs=0.005, rel=0.01)


def test_of_two_targets_the_worse_counts():
  calls = iter([lambda x: x[:1].repeat(8, 0), lambda x: 3 * x] * 2)
  _, noise, spread = _look(lambda x: next(calls)(x))
  assert noise > 1.2 and spread < 0.01


def test_of_one_image_nothing_is_said_of_different_sources(monkeypatch):
  monkeypatch.setattr(
    _Drawn, 'readable', lambda *_: np.full((8, 8, 3), 9, np.uint8)
  )
  targets = outputs.read_targets(_Drawn('a', 'b'), ('a', 'b'))
  found = outputs.look(_Maker(lambda x: x, 'label'), targets, jax.random.key(0))
  assert list(found) == [collapse.NOISE]


def test_sources_that_are_further_apart_than_targets_are_not_the_measure():
  """As where photographs become drawings of edges."""
  val = _Drawn('a', 'b')
  real = val.readable
  val.readable = lambda domain, i: real(domain, i) // (1 if domain else 8)
  maker = _Maker(lambda x: (x + 1) / 8 - 1, 'label')
  targets = outputs.read_targets(val, ('a',))
  found = outputs.look(maker, targets, jax.random.key(0))
  assert found[collapse.SPREAD] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
  'names, domains, expected',
  [
    (('a', 'b'), ('a', 'b'), [({1}, 0), ({0}, 1)]),
    (('a', 'b', 'c'), ('a', 'b', 'c'), [({1, 2}, 0), ({0, 2}, 1)]),
    (('b',), ('a', 'b'), [({0}, 0)]),  # of pairs
    (('hat', 'tie'), ('all',), [({0}, 0), ({0}, 1)]),  # of attributes
    (('a', 'b', 'x', 'y'), ('a', 'b'), [({1}, 0), ({0}, 1)]),  # of two sets
    (('a',), ('a',), [({0}, 0)]),
  ],
)
def test_sources_are_of_the_other_domains(names, domains, expected):
  maker, *_ = _look(lambda x: x, names=names, domains=domains)
  assert [(set(x), *set(y.tolist())) for x, y, _ in maker.asked] == expected


@pytest.mark.parametrize('kind', ['latent', 'reference'])
def test_all_outputs_of_a_look_are_of_one_style(kind):
  maker, *_ = _look(lambda x: x, kind)
  for _, y, s in maker.asked:
    assert len(s) == len(y) == outputs.NUM_IMAGES
    assert (s == s[:1]).all()
