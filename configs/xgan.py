"""XGAN with the paper's networks at 64 px (Royer et al. 2017).

xgan prepare --domain face=PATH --domain anime=PATH --out data/faces
python train.py --config configs/xgan.py --workdir runs/xgan --config.data.path=data/faces
"""

from xgan_jax.config import Config, DataConfig
from xgan_jax.xgan import Networks, Weights


def get_config() -> Config:
    return Config(method="xgan", networks=Networks(), weights=Weights(), data=DataConfig(size=64))
