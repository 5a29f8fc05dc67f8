"""How the weights of the demo's tiny networks were made; nothing of it is imported at run time."""
