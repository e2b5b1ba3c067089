"""Data recipes: which files are which source, and how examples are drawn from them."""

from __future__ import annotations

from train.data.recipes.class_folders import ClassFolders as ClassFolders
from train.data.recipes.musdb import MUSDB as MUSDB
from train.data.recipes.recipe import Examples as Examples
from train.data.recipes.recipe import Recordings as Recordings
from train.data.recipes.recipe import find_part as find_part
from train.data.recipes.recipe import find_tracks as find_tracks
from train.data.recipes.recipe import open_part as open_part
from train.data.recipes.song_folders import SongFolders as SongFolders
from train.data.recipes.stereo_pairs import StereoPairs as StereoPairs
from train.data.recipes.two_folders import TwoFolders as TwoFolders
