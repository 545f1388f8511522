"""Every other system of the field, each behind the contract of `xgan_jax.method`."""
