"""How authorities agree: a synchronous state machine, inputs in, effects out."""
