"""Cache of the frozen layers' activations for each pair: steps run only the trained layers."""
