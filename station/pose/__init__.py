"""The pose stage: Frame → Pose with BlazePose's detector and landmark model."""

from station.pose.estimator import PoseEstimator

__all__ = ["PoseEstimator"]
