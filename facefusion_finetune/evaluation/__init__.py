"""Is the tuned model better on footage it has never seen: metrics, protocol, report."""
