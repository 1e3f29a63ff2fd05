"""The workbench: renders runners with exact truth, trains and scores models. Never imported by the engine.

Commands (each with ``--help``; all but the first two go on where they were interrupted; extra ``lab``):

* ``python -m station.lab.score TRIAL.npz … [--suite]`` — the kernel against recorded or analytic runners
* ``python -m station.lab.bodies`` — export the bodies into the cache, once
* ``python -m station.lab.frames OUT_DIR --n 60 --seed 1`` — pictures of many runners, for calibration
* ``python -m station.lab.clip OUT.mp4`` — the bundled clip with its truth
* ``python -m station.lab.dataset OUT_DIR --shards 100 --seed 1 [--kind held]`` — pelvis crops with truth
* ``python -m station.lab.train DATA_DIR OUT_DIR --minutes 60`` — the pelvis net
* ``python -m station.lab.export OUT_DIR DATA_DIR MODEL.tflite`` — the trained net as int8 TFLite
* ``python -m station.lab.netcard MODEL.tflite DATA_DIR OUT_DIR`` — pictures for its card
* ``python -m station.lab.recipe MODEL.tflite [--smoke]`` — all three one after the other (``make model``)

How a picture comes about: ``bodies`` (rest shapes) and ``gaitplan`` (when feet land, how the pelvis moves) meet in
``legs`` (planted feet by inverse kinematics, swing by curves) and ``skinning`` (all bones, meshes); ``garments`` and
``shoes`` dress, ``scene`` builds the gym, ``pinhole`` is the camera, ``gl`` and ``shaders`` draw, ``sensor`` develops;
``runner`` ties one take together, ``variety`` draws random ones.
"""
