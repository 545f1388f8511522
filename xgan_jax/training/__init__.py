"""The sharded step, its state, the loop, checkpoints and logs. Knows a `Method`, never a method's file."""
