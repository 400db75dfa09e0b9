"""MUNIT (Huang et al. 2018): the names that `systems` asks for."""

from jaxgan.data.contracts.unpaired import create_datasets as create_datasets
from jaxgan.data.contracts.unpaired import create_eval_data as create_eval_data
from jaxgan.data.contracts.unpaired import example_batch as example_batch
from jaxgan.data.contracts.unpaired import view as view
from jaxgan.systems.munit.config import FREE_SETTINGS as FREE_SETTINGS
from jaxgan.systems.munit.config import HOST_SETTINGS as HOST_SETTINGS
from jaxgan.systems.munit.config import default_config as default_config
from jaxgan.systems.munit.config import domain_names as domain_names
from jaxgan.systems.munit.evaluate import evaluate as evaluate
from jaxgan.systems.munit.official import export_official as export_official
from jaxgan.systems.munit.official import import_official as import_official
from jaxgan.systems.munit.sample import Translator as Translator
from jaxgan.systems.munit.sample import sample as sample
from jaxgan.systems.munit.sample import translate_batch as translate_batch
from jaxgan.systems.munit.step import SIGNS as SIGNS
from jaxgan.systems.munit.step import check_config as check_config
from jaxgan.systems.munit.step import check_frozen as check_frozen
from jaxgan.systems.munit.step import create_frozen as create_frozen
from jaxgan.systems.munit.step import create_training as create_training
from jaxgan.systems.munit.step import inference_params as inference_params
from jaxgan.systems.munit.step import train_step as train_step
