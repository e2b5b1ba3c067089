"""The shipped model on real recordings, where JAXSEP_DATA names their folder."""

import numpy as np

from jaxsep.audio import read_audio
from jaxsep.evaluation import score_track
from jaxsep.separator import Separator


def test_vocals_of_unheard_singers_gain_more_than_the_bar(recordings):
    """Every eleventh of the 88 validation clips; all of them gain more than 6.5 dB."""
    separator = Separator.from_pretrained("vocals")
    gains, lengths = [], []
    for path in sorted((recordings / "mir1k" / "valid").glob("*.ogg"))[::11]:
        accompaniment, vocals = read_audio(path)
        stems = separator(accompaniment + vocals, 16000)
        references = np.stack([vocals, accompaniment])[:, None]
        scores = score_track(references, np.stack([stems["vocals"], stems["accompaniment"]])[:, None])
        gains.append(scores[0]["nsdr"])
        lengths.append(len(vocals))
    assert np.average(gains, weights=lengths) >= 6.5
