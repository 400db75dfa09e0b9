"""The engine of a step: phases, each of which steps some networks down a loss.

A loss reads as its paper: `loss(f, batch, w) -> (value, terms)`, where
f('generator', x, s) is a network. What is differentiated is decided by
`Phase.steps` alone: all other networks are constants.
"""

import dataclasses
import functools
import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.extend import core as jax_core

from jaxgan.training import optim
from jaxgan.training.state import State

Array = jax.Array
Tree = Any
Terms = dict[str, Array]
# (memory, carry, key) -> the same two.
After = Callable[[dict[str, Tree], Tree, Array], tuple[dict[str, Tree], Tree]]


class Model(Protocol):
  """What the engine asks of the value that a system builds of its config."""

  @property
  def nets(self) -> Mapping[str, nn.Module]:
    """The networks that are trained."""

  @property
  def frozen_nets(self) -> Mapping[str, Callable[..., Any]]:
    """{name: fn(parameters, *args)} of the networks that never are."""

  @property
  def tx(self) -> Mapping[str, optax.GradientTransformation]:
    """An optimiser of rate 1 for each network that is stepped."""

  @property
  def micro_batches(self) -> int:
    """The parts in which a phase takes its batch."""


@dataclasses.dataclass(frozen=True)
class Phase:
  """One update: the gradient of a loss steps the networks in `steps`.

  Attributes:
    name: its metrics are `<name>_<term>`.
    loss: (f, batch, w) -> (value, {term: scalar}), and perhaps a carry, which
      later phases read, without a gradient, as `f.carry`.
    steps: the networks that are stepped.
    shared_draws: networks draw as in the other phases that say so, so that two
      phases see one output of a network that draws; else anew.
    after: run after the step; it writes the memories of the state.
  """

  name: str
  loss: Callable[..., Any]
  steps: tuple[str, ...]
  shared_draws: bool = False
  after: After | None = None


class Forward:
  """The networks inside a phase: f(name, *args) is what a network makes.

  Attributes:
    carry: what the phases before have handed on.
    memory: what the iterations before have left.
    variables: statistics of norms, as the calls so far have left them.
  """

  def __init__(
    self,
    model: Model,
    params: Mapping[str, Tree],
    *,
    frozen: Mapping[str, Tree],
    variables: Mapping[str, Tree],
    ema_params: Mapping[str, Tree] | None = None,
    rng: Array | None = None,
    train: bool = True,
    memory: Mapping[str, Tree] | None = None,
    carry: Tree = None,
  ):
    self.variables, self.memory = dict(variables), dict(memory or {})
    self.carry = carry
    self._model, self._params, self._frozen = model, params, frozen
    self._ema_params = ema_params or {}
    self._rng, self._train = rng, train
    self._calls: dict[str, int] = {}
    self._trace = _trace()

  def __call__(
    self, name: str, *args: Any, method: str | None = None, keep: bool = True
  ) -> Any:
    """Applies a network.

    Args:
      name: a network; a frozen one; or `<network>_ema`, its average.
      *args: of the module.
      method: of the module, if it is not `__call__`.
      keep: whether the statistics of norms that it leaves are kept. Inside a
        `jax.grad` or `jax.vmap` of the loss itself they never are: they would
        be values of that transformation.
    """
    if name in self._model.frozen_nets:
      return self._model.frozen_nets[name](self._frozen[name], *args)
    network = name.removesuffix('_ema')
    module = self._model.nets[network]
    own = self.variables.get(name, {})
    rngs = self._draws(name)
    if 'train' in _parameters(getattr(type(module), method or '__call__')):
      kwargs: dict[str, Any] = {'train': self._train}
    else:
      kwargs = {}
    out = module.apply(
      {'params': self._find_params(name), **own},
      *args,
      method=method,
      rngs=rngs,
      mutable=list(own) if own and self._train else False,
      **kwargs,
    )
    if not (own and self._train):
      return out
    out, left = out
    if keep and _trace() == self._trace:
      self.variables[name] = {**own, **left}
    return out

  def has(self, name: str) -> bool:
    """Whether there is such a network, frozen ones among them."""
    return name in self._model.nets or name in self._model.frozen_nets

  def _find_params(self, name: str) -> Tree:
    if name in self._params:
      return self._params[name]
    return self._ema_params[name.removesuffix('_ema')]

  def _draws(self, name: str) -> dict[str, Array] | None:
    """Keys of this call: a function of the phase, the network and the call."""
    self._calls[name] = call = self._calls.get(name, -1) + 1
    if self._rng is None:
      return None
    own = jax.random.fold_in(self._rng, _number(f'{name} {call}'))
    dropout, noise = jax.random.split(own)
    return {'dropout': dropout, 'noise': noise}


def inference(
  model: Model,
  params: Mapping[str, Tree],
  frozen: Mapping[str, Tree] | None = None,
  rng: Array | None = None,
) -> Forward:
  """The networks outside of training: f(name, *args), as inside a phase.

  Args:
    model: of the system.
    params: by network, and perhaps the statistics of norms, as 'variables'.
    frozen: parameters that are never trained.
    rng: where a network draws when it is used, too.
  """
  return Forward(
    model,
    params,
    frozen=frozen or {},
    variables=params.get('variables', {}),
    rng=rng,
    train=False,
  )


class Result(NamedTuple):
  """What `run` gives."""

  state: State  # step and averages are as before
  metrics: Terms  # <phase>_<term>
  grads: dict[str, dict[str, Tree]]  # by phase and network


def run(
  phases: Sequence[Phase],
  model: Model,
  state: State,
  frozen: Mapping[str, Tree],
  batch: Mapping[str, Array],
  rng: Array,
  *,
  lr: Mapping[str, Array],
  w: Any,
) -> Result:
  """Runs phases in their order; each sees what those before have left.

  Args:
    phases: of this iteration.
    model: networks and optimisers.
    state: before.
    frozen: parameters that are never trained, by network.
    batch: arrays [B, ...]; all that a loss draws by image is in it.
    rng: key of this iteration, for draws inside of networks.
    lr: {network: rate} of this iteration.
    w: weights and constants of this iteration, the third argument of a loss.
  """
  metrics: Terms = {}
  grads: dict[str, dict[str, Tree]] = {}
  carry = None
  for phase in phases:
    draws = _phase_key(rng, phase)
    forward = functools.partial(
      Forward,
      model,
      frozen=frozen,
      variables=state.variables,
      ema_params=state.ema_params,
      memory=state.memory,
      carry=jax.lax.stop_gradient(carry),
    )
    grads[phase.name], (terms, variables, left) = _mean_grads(
      phase, forward, state.params, batch, w, draws, model.micro_batches
    )
    params, opt_state = optim.step(
      model.tx, grads[phase.name], state.params, state.opt_state, lr
    )
    memory = state.memory
    carry = carry if left is None else left
    if phase.after:
      memory, carry = phase.after(
        dict(memory), carry, jax.random.fold_in(draws, _number('after'))
      )
    state = state.replace(
      params=params, opt_state=opt_state, variables=variables, memory=memory
    )
    metrics |= {f'{phase.name}_{key}': value for key, value in terms.items()}
  return Result(state, metrics, grads)


def _mean_grads(
  phase: Phase,
  forward: Callable[..., Forward],
  params: Mapping[str, Tree],
  batch: Mapping[str, Array],
  w: Any,
  rng: Array,
  parts: int,
) -> tuple[dict[str, Tree], tuple[Terms, dict[str, Tree], Tree]]:
  """Gradients of a phase; its terms, variables and carry.

  In parts, the images of one part are in memory at a time, and the loss has to
  be a mean over images.
  """
  trained = {name: params[name] for name in phase.steps}

  def loss_fn(trained, part, rng):
    f = forward({**params, **trained}, rng=rng)
    value, terms, *left = phase.loss(f, part, w)
    return value, (terms, f.variables, left[0] if left else None)

  grad_fn = jax.grad(loss_fn, has_aux=True)
  if parts == 1:
    return grad_fn(trained, batch, rng)

  # Image i goes to part i % parts: every device has its share of each part.
  split = jax.tree.map(
    lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch
  )

  def add_part(total, numbered):
    part, number = numbered  # no two parts draw the same
    own = jax.random.fold_in(rng, number)
    grads, (terms, *left) = grad_fn(trained, part, own)
    if jax.tree.leaves(left):
      raise ValueError(
        f'{phase.name}: micro-batches need a loss that is a mean over images, '
        'and this one leaves statistics or a carry'
      )
    return jax.tree.map(jnp.add, total, (grads, terms)), None

  first = jax.tree.map(lambda x: x[0], split)
  grads, (terms, *_) = jax.eval_shape(grad_fn, trained, first, rng)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, terms))
  total, _ = jax.lax.scan(add_part, zeros, (split, jnp.arange(parts)))
  grads, terms = jax.tree.map(lambda x: x / parts, total)
  return grads, (terms, {}, None)


def _phase_key(rng: Array, phase: Phase) -> Array:
  name = 'shared' if phase.shared_draws else phase.name
  return jax.random.fold_in(rng, _number(name))


def _number(name: str) -> int:
  return zlib.crc32(name.encode())


@functools.cache
def _parameters(method: Callable[..., Any]) -> frozenset[str]:
  return frozenset(inspect.signature(method).parameters)


def _trace() -> Any:
  """The transformation that is being traced."""
  return jax_core.get_opaque_trace_state(convention='flax')
