"""The workbench: renders runners with exact truth, trains and scores models. Never imported by the engine."""
