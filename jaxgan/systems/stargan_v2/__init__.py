"""StarGAN v2 (Choi et al. 2020): the names that `systems` asks for."""

from jaxgan.data.contracts.domains_ref import create_datasets as create_datasets
from jaxgan.data.contracts.domains_ref import (
  create_eval_data as create_eval_data,
)
from jaxgan.data.contracts.domains_ref import example_batch as example_batch
from jaxgan.data.contracts.domains_ref import view as view
from jaxgan.systems.stargan_v2.config import FREE_SETTINGS as FREE_SETTINGS
from jaxgan.systems.stargan_v2.config import HOST_SETTINGS as HOST_SETTINGS
from jaxgan.systems.stargan_v2.config import default_config as default_config
from jaxgan.systems.stargan_v2.config import domain_names as domain_names
from jaxgan.systems.stargan_v2.evaluate import evaluate as evaluate
from jaxgan.systems.stargan_v2.official import (
  export_official as export_official,
)
from jaxgan.systems.stargan_v2.official import (
  import_official as import_official,
)
from jaxgan.systems.stargan_v2.sample import Translator as Translator
from jaxgan.systems.stargan_v2.sample import sample as sample
from jaxgan.systems.stargan_v2.sample import translate_batch as translate_batch
from jaxgan.systems.stargan_v2.step import SIGNS as SIGNS
from jaxgan.systems.stargan_v2.step import check_config as check_config
from jaxgan.systems.stargan_v2.step import check_frozen as check_frozen
from jaxgan.systems.stargan_v2.step import create_frozen as create_frozen
from jaxgan.systems.stargan_v2.step import create_training as create_training
from jaxgan.systems.stargan_v2.step import inference_params as inference_params
from jaxgan.systems.stargan_v2.step import train_step as train_step
