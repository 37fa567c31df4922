"""The ids of these tests say on which core they run."""

from support.cores import core as core
