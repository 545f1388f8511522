"""One of several processes that train together; started by test_processes.py."""

import sys

import jax

if __name__ == "__main__":
    address, count, index, records, workdir, steps = sys.argv[1:]
    if int(count) > 1:
        jax.distributed.initialize(address, int(count), int(index))

    from xgan_jax.config import Config, DataConfig, RunConfig
    from xgan_jax.training.loop import train
    from xgan_jax.xgan import Networks, Weights

    config = Config(
        method="xgan",
        networks=Networks(width=0.125, embedding_size=32, classifier_layers=1),
        weights=Weights(),
        data=DataConfig(path=records, size=32, colour=0.1),
        run=RunConfig(steps=int(steps), batch_size=8, log_every=1, sample_every=4, checkpoint_every=2),
    )
    train(config, workdir)
