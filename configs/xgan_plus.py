"""XGAN with what the field has learnt since, sized for 64 px (docs/quality.md says what each part is worth).

    xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
    python train.py --config configs/xgan_plus.py --workdir runs/xgan_plus --config.data.path=data/faces

The paper's idea stays: two auto-encoders with a shared embedding, domain-adversarial, semantic and GAN terms.
The embedding is a map of 16x16, told by domain place by place (`networks.embedding_side`,
`weights.domain_form`), with residual blocks around it; the semantic loss also asks which place of the batch a
translation's is (`weights.contrastive`); the GAN weighs more (`weights.gan`), and its discriminators are held
by R1. Where both domains have labels of the same attributes, what a small network learnt from them reads of a
picture must be read of its translation and reconstruction (`weights.attributes`); without such labels this
term is nothing, and the rest goes on. Each has its own switch, as have `networks.resize`, `weights.identity`
and the small batches.

50 minutes on a CPU core. On the embedded data the true counterpart is the nearest of 500 for 98% (face to
anime) and 87% (anime to face) of translations. With labels every attribute is kept, at 0.93 and more of what
can be read; without, eyes, glasses and beards are lost.
"""

from xgan_jax.config import Config, DataConfig, OptimizerConfig, RunConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(
        method="xgan",
        networks=Networks(
            width=0.5,
            discriminator_width=2.0,
            embedding_size=4096,
            embedding_side=16,
            blocks=1,
            private_blocks=2,
            resize=True,
            classifier_layers=1,
            norm="none",
        ),
        weights=Weights(
            domain_form="confusion",
            domain_adversarial=3.0,
            contrastive=3.0,
            attributes=3.0,
            gan=8.0,
            gan_form="ns",
            identity=30.0,
            r1=10.0,
            r1_every=20,
        ),
        data=DataConfig(size=64, shift=2),
        optimizer=OptimizerConfig(learning_rate=5e-4, decay=0.5),
        run=RunConfig(
            steps=20_000,
            batch_size=4,
            log_every=100,
            sample_every=2000,
            checkpoint_every=2000,
            measure_every=4000,
        ),
    )
