"""Evaluates a run: `python eval.py --workdir runs/NAME [--out DIR] [--step N] [--metrics all]`.

Draws a grid for each direction from the moving average of the weights, on pictures of the test split. With
`--metrics` it also measures, into `metrics.json` and `index.html`.
"""

import os
import sys

from absl import app, flags, logging

from xgan_jax import faults, startup
from xgan_jax import flags as ours

_WORKDIR = flags.DEFINE_string("workdir", None, "The folder that train.py was given.", required=True)
_OUT = flags.DEFINE_string("out", None, "Where to write; default WORKDIR/eval.")
_DATA = flags.DEFINE_string("data", None, "The prepared dataset; default where it was in training.")
_STEP = flags.DEFINE_integer("step", None, "The checkpoint to use; default the newest.")
_COUNT = flags.DEFINE_integer("count", 64, "Test pictures of each domain.", lower_bound=1)
_BEST = flags.DEFINE_bool("best", False, "The checkpoint with the lowest KID while it trained.")
_METRICS = flags.DEFINE_list(
    "metrics", [], "all, or some of truth, attributes, kid, fid, manifold, embedding; separated by commas."
)
_METRICS_COUNT = flags.DEFINE_integer(
    "metrics_count", None, "Test pictures of each domain to measure on; default all.", lower_bound=20
)
_INCEPTION = flags.DEFINE_string(
    "inception_weights", None, "FID's Inception-v3 as PyTorch's file, for KID and FID as others print them."
)
_FORCE_FID = flags.DEFINE_bool("force_fid", False, "FID of fewer than 2,048 pictures.")
_SINGLES = flags.DEFINE_bool("singles", False, "Also write every translation as its own PNG.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"the argument {argv[1]!r} is unknown: see eval.py --help.")
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes

    startup.keep_compiled_programs()
    folder = _OUT.value or os.path.join(_WORKDIR.value, "eval")
    with faults.writing(folder):
        _evaluate(folder)


def _evaluate(folder: str) -> None:
    from xgan_jax.evaluation.measures import measure, summary
    from xgan_jax.evaluation.translate import evaluate

    report = evaluate(
        _WORKDIR.value,
        _OUT.value,
        step=_STEP.value,
        count=_COUNT.value,
        singles=_SINGLES.value,
        best=_BEST.value,
        data=_DATA.value,
    )
    if _METRICS.value:
        figures = measure(
            _WORKDIR.value,
            _OUT.value,
            step=_STEP.value,
            best=_BEST.value,
            metrics=None if "all" in _METRICS.value else _METRICS.value,
            count=_METRICS_COUNT.value,
            inception_weights=_INCEPTION.value,
            force_fid=_FORCE_FID.value,
            data=_DATA.value,
        )
    print(f"step {report['step']}: {', '.join(report['written'])} and eval.json in {folder}")
    if _METRICS.value:
        print(summary(figures))
        print(f"metrics.json and index.html in {folder}")


if __name__ == "__main__":
    sys.exit(faults.run("eval.py", lambda: app.run(main, flags_parser=ours.parse)))
