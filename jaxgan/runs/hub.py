"""Runs on the Hugging Face hub: `hf://user/name`, or `hf://user/name@revision`.

A repository is a work directory with what translations need. What comes from
there is read as any run is: as data, its sums checked.
"""

import os
import re
from typing import Any

from etils import epath

from jaxgan.runtime import errors, files

PREFIX = 'hf://'
# What a run is; pictures and the card are not fetched.
PATTERNS = ('config.json', 'data.json', 'frozen.npz', 'checkpoints/*')
_REPO = re.compile(r'[a-z0-9][\w.-]{0,95}/\w([\w.-]{0,94}\w)?', re.A | re.I)


def check_repo(repo: str) -> str:
  """The name of a repository; raises UserError for what cannot be one."""
  odd = '--' in repo or '..' in repo or repo.endswith('.git')
  if odd or not _REPO.fullmatch(repo):
    raise errors.UserError(
      f'{repo!r} names no repository of the hub: give user/name, of letters, '
      'digits, -, _ and .'
    )
  return repo


def import_library() -> Any:
  """The client of the hub; raises UserError where it is not installed."""
  try:
    import huggingface_hub
  except ImportError as e:
    raise errors.UserError(
      f'the Hugging Face hub needs huggingface_hub ({e}): pip install '
      'huggingface_hub'
    ) from e
  return huggingface_hub


def locate(directory: epath.PathLike) -> epath.Path:
  """The work directory that a user names, downloaded if it is on the hub.

  Raises:
    UserError: it cannot be downloaded.
  """
  address = os.fspath(directory)
  if not address.startswith(PREFIX):
    return files.user_path(directory)
  repo, _, revision = address.removeprefix(PREFIX).partition('@')
  check_repo(repo)
  library = import_library()
  try:
    path = library.snapshot_download(
      repo, revision=revision or None, allow_patterns=list(PATTERNS)
    )
  except Exception as e:  # of the network, an account, a name
    raise failure(f'cannot download {address}', e) from e
  return epath.Path(path)


def upload(folder: epath.Path, repo: str, *, private: bool) -> str:
  """Puts a folder into a repository, made if it is missing; its address.

  Raises:
    UserError: the hub does not take it.
  """
  api = import_library().HfApi()
  try:
    address = api.create_repo(repo, private=private, exist_ok=True)
    is_public = not api.repo_info(repo).private
    if not (private and is_public):
      api.upload_folder(
        repo_id=repo,
        folder_path=os.fspath(folder),
        # The newest would be opened, which another upload may have left.
        delete_patterns=['checkpoints/*', 'samples/*'],
      )
  except Exception as e:  # of the network, an account, a name
    raise failure(f'cannot upload to {repo}', e) from e
  if private and is_public:
    raise errors.UserError(
      f'{repo} is there already, and public: make it private on the hub, or '
      'leave out --private'
    )
  return str(address)


def failure(what: str, error: Exception) -> errors.UserError:
  """The error in a line."""
  reason = ' '.join(str(error).split())[:300] or type(error).__name__
  return errors.UserError(f'{what}: {reason}')
