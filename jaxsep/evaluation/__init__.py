"""Scores of files: of estimates, models or baselines against references."""

from jaxsep.evaluation.estimators import BASELINES as BASELINES
from jaxsep.evaluation.estimators import baseline_estimator as baseline_estimator
from jaxsep.evaluation.estimators import model_estimator as model_estimator
from jaxsep.evaluation.folders import Evaluation as Evaluation
from jaxsep.evaluation.folders import evaluate_folders as evaluate_folders
from jaxsep.evaluation.folders import read_track as read_track
from jaxsep.evaluation.track import FIGURES as FIGURES
from jaxsep.evaluation.track import FRAME_FIGURES as FRAME_FIGURES
from jaxsep.evaluation.track import Frames as Frames
from jaxsep.evaluation.track import mute_inaudible as mute_inaudible
from jaxsep.evaluation.track import score_track as score_track
from jaxsep.evaluation.track import summarize as summarize
from jaxsep.evaluation.voiced import VOICED_FIGURES as VOICED_FIGURES
from jaxsep.evaluation.voiced import voiced_samples as voiced_samples
