"""The nouns that every stage shares: architectures, costs, tables, budgets, fronts. Nothing here imports torch."""
