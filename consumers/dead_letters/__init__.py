"""Dead letters: store, edit and replay them."""
