import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data import labels
from jaxgan.data.labels import FLIP, KEEP, Labels, LabelSet

FACES = LabelSet(('Black_Hair', 'Male', 'Blond_Hair', 'Brown_Hair'), False)
MOODS = LabelSet(('happy', 'sad'), True)
ALONE, JOINT = Labels((FACES,)), Labels((FACES, MOODS))


def test_a_second_set_adds_its_labels_and_a_mask():
  assert ALONE.dim == 4 and Labels((MOODS,)).dim == 2
  assert JOINT.dim == 4 + 2 + 2
  assert JOINT.names == FACES.names + MOODS.names
  assert (JOINT.span(0), JOINT.span(1)) == (slice(0, 4), slice(4, 6))


def test_what_another_set_would_tell_is_zero():
  faces, moods = jnp.array([[1.0, 0, 1, 1]]), jnp.array([[0.0, 1]])
  assert ALONE.complete(0, faces).tolist() == [[1, 0, 1, 1]]
  assert JOINT.complete(0, faces).tolist() == [[1, 0, 1, 1, 0, 0, 1, 0]]
  assert JOINT.complete(1, moods).tolist() == [[0, 0, 0, 0, 0, 1, 0, 1]]


@pytest.mark.parametrize(
  'target, code',
  [
    (0, [1, KEEP, 0, 0]),  # one colour of hair
    (1, [KEEP, FLIP, KEEP, KEEP]),
    (2, [0, KEEP, 1, 0]),
  ],
)
def test_codes_are_those_of_the_original_tests(target, code):
  assert ALONE.code(target).tolist() == code
  assert JOINT.code(target).tolist() == [*code, 0, 0, 1, 0]
  assert ALONE.code(target).dtype == np.float32


def test_codes_of_domains_are_one_hot():
  assert Labels((MOODS,)).code(1).tolist() == [0, 1]
  assert JOINT.code(4).tolist() == [0, 0, 0, 0, 1, 0, 0, 1]
  assert JOINT.code(5).tolist() == [0, 0, 0, 0, 0, 1, 0, 1]
  # The name of a domain has no meaning here.
  hair = LabelSet(('Black_Hair', 'bald', 'Blond_Hair'), True)
  assert Labels((hair,)).code(1).tolist() == [0, 1, 0]


def test_codes_are_resolved_by_the_label_there_is():
  codes = jnp.array(
    [[1, KEEP, 0, 0, 0, 0, 1, 0], [KEEP, FLIP, KEEP, KEEP, 0, 0, 1, 0]]
  )
  known = jnp.array([[0.0, 1, 1, 0, 0, 1], [1, 1, 0, 1, 1, 0]])
  assert labels.resolve(codes, known).tolist() == [
    [1, 1, 0, 0, 0, 0, 1, 0],
    [1, 0, 0, 1, 0, 0, 1, 0],
  ]
  flipped = labels.resolve(codes[:, :4], jnp.array([[0.0] * 4] * 2))
  assert flipped.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]


def test_an_estimate_has_any_attributes_and_one_domain():
  logits = jnp.array([[0.1, -0.1, 3, 0, -5, -4], [-1, -1, -1, 2, 9, 8]])
  assert JOINT.estimate(logits).tolist() == [
    [1, 0, 1, 0, 0, 1],
    [0, 0, 0, 1, 1, 0],
  ]
