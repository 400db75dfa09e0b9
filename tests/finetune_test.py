import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.runs import finetune
from jaxgan.runtime import errors


def test_heads_follow_their_domain_and_new_ones_start_fresh():
  old = {
    'trunk': {'kernel': jnp.full((2, 2), 7.0)},
    'heads_0': {'kernel': jnp.array([[1.0], [2.0], [3.0]])},
  }
  new = {
    'trunk': {'kernel': jnp.zeros((2, 2))},
    'heads_0': {'kernel': jnp.array([[-1.0], [-2.0]])},
  }
  got = finetune.transfer(old, new, ['dog', 'cat', 'wild'], ['fox', 'dog'])
  np.testing.assert_array_equal(got['trunk']['kernel'], np.full((2, 2), 7.0))
  np.testing.assert_array_equal(got['heads_0']['kernel'], [[-1.0], [1.0]])


def test_other_networks_are_an_error():
  new = {'trunk': {'kernel': jnp.zeros((2, 3))}}
  with pytest.raises(errors.UserError, match=r'trunk/kernel of shape \(2, 3\)'):
    finetune.transfer({'trunk': {'kernel': jnp.zeros((2, 2))}}, new, [], [])


def test_without_heads_domains_are_known_by_their_order():
  params = {'generator': {'stem': {'kernel': jnp.zeros((2, 2))}}}
  finetune.check_domains(params, ['a', 'b'], ('a', 'b'))
  with pytest.raises(errors.UserError, match='a, b, and this run has b, a'):
    finetune.check_domains(params, ['a', 'b'], ['b', 'a'])
  with_heads = {**params, 'encoder': {'heads_0': {'bias': jnp.zeros(2)}}}
  finetune.check_domains(with_heads, ['a', 'b'], ['b', 'a'])
