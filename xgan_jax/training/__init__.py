"""The sharded step, the loop around it, what a person sees of them. Knows a `Method`, no method's file."""
