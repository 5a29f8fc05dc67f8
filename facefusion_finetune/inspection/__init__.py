"""What the rule on the graph sees, for people: tables and a drawing."""
