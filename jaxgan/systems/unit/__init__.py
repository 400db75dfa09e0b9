"""UNIT (Liu et al. 2017): the names that `systems` asks for."""

from jaxgan.data.contracts.unpaired import create_datasets as create_datasets
from jaxgan.data.contracts.unpaired import create_eval_data as create_eval_data
from jaxgan.data.contracts.unpaired import example_batch as example_batch
from jaxgan.data.contracts.unpaired import view as view
from jaxgan.systems.unit.config import FREE_SETTINGS as FREE_SETTINGS
from jaxgan.systems.unit.config import HOST_SETTINGS as HOST_SETTINGS
from jaxgan.systems.unit.config import default_config as default_config
from jaxgan.systems.unit.config import domain_names as domain_names
from jaxgan.systems.unit.evaluate import evaluate as evaluate
from jaxgan.systems.unit.official import export_official as export_official
from jaxgan.systems.unit.official import import_official as import_official
from jaxgan.systems.unit.sample import Translator as Translator
from jaxgan.systems.unit.sample import sample as sample
from jaxgan.systems.unit.sample import translate_batch as translate_batch
from jaxgan.systems.unit.step import SIGNS as SIGNS
from jaxgan.systems.unit.step import check_config as check_config
from jaxgan.systems.unit.step import check_frozen as check_frozen
from jaxgan.systems.unit.step import create_frozen as create_frozen
from jaxgan.systems.unit.step import create_training as create_training
from jaxgan.systems.unit.step import inference_params as inference_params
from jaxgan.systems.unit.step import train_step as train_step
