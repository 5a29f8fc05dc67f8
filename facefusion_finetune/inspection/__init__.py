"""What the partition rule finds in a swapper's graph, for people: tables and a drawing."""
