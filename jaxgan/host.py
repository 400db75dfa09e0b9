"""What this process asks of the machine that it runs on."""

import ctypes

_MOST = 2**31 - 1  # bytes; the largest that mallopt takes
# Of malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
  """Lets the allocator keep freed memory, up to 2 GB, for what comes next.

  On a CPU, XLA frees the temporaries of a step at its end and asks for them
  again in the next one; by default glibc gives large ones back to the kernel,
  which then hands out and clears every page anew.

  Returns:
    Whether there was such an allocator to ask: that of glibc 2.35 or later.
  """
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)  # musl, macOS: none
  # In this order: where the first is refused, the second alone does harm.
  return bool(
    mallopt
    and mallopt(_M_MMAP_THRESHOLD, _MOST)
    and mallopt(_M_TRIM_THRESHOLD, _MOST)
  )
