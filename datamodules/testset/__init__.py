"""Fixed sets that nets are tested on: folders, composites by RVM's protocol, conditions of the project."""

from datamodules.testset.composite import CompositeTestSet
from datamodules.testset.conditions import ConditionTestSet
from datamodules.testset.folder import FolderTestSet
from datamodules.testset.interface import TestClip, TestSet

__all__ = ["CompositeTestSet", "ConditionTestSet", "FolderTestSet", "TestClip", "TestSet"]
